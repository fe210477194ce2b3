"""Storage: the only SQL. The embedded Postgres or a configured one, migrations, ingest, leases, and what is read."""
