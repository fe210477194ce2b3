"""conftrack: how a government's video conferencing is really used, and which site is failing right now.

Read downwards; a module imports only from the lines below it (a lint proves it):

    cli         builds everything from the configuration and owns the exit codes; demo does so for the demo
    service     the running collector: intervals, leases, shutdown
    web metrics what people and Prometheus see, from what the last cycle left in memory
    collector   one catch-up of a source's history, one live cycle, one push
    state       what the service knows right now, in memory
    board       what is going on now: snapshots become joins, leaves and moves
    sources     one module per conference system: vendor JSON in, records out
    storage     the only SQL: embedded Postgres, migrations, ingest, rollups
    simulator   a province that never was, for the demo and the tests
    config      one TOML file
    model       the records that all of them speak
"""

__version__ = "0.1.0"
