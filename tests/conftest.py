"""A real Postgres for every test that touches data: one server a run, a clone of a migrated template a test.

`CONFTRACK_TEST_DSN` names a server to use instead of the embedded one; its user must be allowed to create databases.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import zlib
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from zoneinfo import ZoneInfo

import asyncpg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from conftrack.config import DatabaseConfig, Secret
from conftrack.storage import migrate
from conftrack.storage.database import Database
from conftrack.storage.embedded import EmbeddedPostgres
from conftrack.storage.store import Store

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
_count = itertools.count()


def with_database(dsn: str, name: str) -> str:
    """The same server, another database."""
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{name}"))


@pytest.fixture(scope="session")
def server_dsn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running Postgres server, shared by all workers of the run."""
    if dsn := os.environ.get("CONFTRACK_TEST_DSN"):
        yield dsn
        return
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    with EmbeddedPostgres(shared / "postgres") as dsn:
        yield dsn


@pytest.fixture(scope="session")
def template(server_dsn: str) -> str:
    """A migrated database that is only ever cloned."""
    return asyncio.run(_make_template(server_dsn))


async def _make_template(dsn: str) -> str:
    files = "".join(m.checksum for m in migrate.migrations())
    name = f"conftrack_template_{zlib.crc32(files.encode()):x}"
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("select pg_advisory_lock(hashtext('conftrack template'))")
        if not await connection.fetchval("select exists (select from pg_database where datname = $1)", name):
            await connection.execute(f'create database "{name}_new"')
            inner = await asyncpg.connect(with_database(dsn, f"{name}_new"))
            await migrate.migrate(inner)
            await inner.close()
            await connection.execute(f'alter database "{name}_new" rename to "{name}"')
    finally:
        await connection.close()
    return name


@pytest.fixture
async def dsn(server_dsn: str, template: str) -> AsyncIterator[str]:
    """An empty, migrated database of this test's own."""
    async for made in _clone(server_dsn, template):
        yield made


@pytest.fixture
async def empty_dsn(server_dsn: str) -> AsyncIterator[str]:
    """A database without a schema."""
    async for made in _clone(server_dsn, "template0"):
        yield made


async def _clone(server_dsn: str, template: str) -> AsyncIterator[str]:
    name = f"test_{os.getpid()}_{next(_count)}"
    connection = await asyncpg.connect(server_dsn)
    try:
        await connection.execute(f'create database "{name}" template "{template}"')
        await connection.execute(f'alter database "{name}" set synchronous_commit = off')  # no power cut is tested
        yield with_database(server_dsn, name)
        await connection.execute(f'drop database "{name}" with (force)')
    finally:
        await connection.close()


@pytest.fixture
async def database(dsn: str, tmp_path: Path) -> AsyncIterator[Database]:
    async with Database(DatabaseConfig(dsn=Secret(dsn)), tmp_path) as opened:
        yield opened


@pytest.fixture
async def store(database: Database) -> Store:
    return Store(database.pool, ZoneInfo("Asia/Ho_Chi_Minh"))


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key, in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2120, 1, 1, tzinfo=UTC))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "node.pem"
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return file
