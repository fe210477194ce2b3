"""The wheel works on its own, away from the checkout; the lock names what it needs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a fresh environment with the wheel in it; its dependencies are borrowed from this one."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=False, symlinks=True)
    programs = folder / "bin"
    pip = [sys.executable, "-m", "pip", "--python", str(programs / "python"), "install", "--no-deps", "--no-index"]
    subprocess.run([*pip, str(wheel)], check=True, capture_output=True)
    # In a folder that a .pth file names, no .pth file counts: so none leads to the checkout.
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return programs


def files(name: str) -> set[str]:
    """The files of a folder of the checkout, as git would give them to others."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", name],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return {line for line in listed.stdout.splitlines() if (ROOT / line).is_file()}


def test_the_wheel_holds_everything_that_is_read_at_run_time(wheel: Path) -> None:
    """The SQL, the dashboards, the templates and the types go along; the tests and the maker of boards do not."""
    with zipfile.ZipFile(wheel) as opened:
        held = {name for name in opened.namelist() if ".dist-info/" not in name}
        licences = [name for name in opened.namelist() if name.endswith("licenses/LICENSE")]

    beside = files("sql") | files("dashboards") - files("dashboards/boards") - files("dashboards/pictures")
    assert held == files("conftrack") | {f"conftrack/{name}" for name in beside}
    assert len(licences) == 1


def test_the_command_runs_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    """What a user types after installing answers, from any folder."""
    answer = subprocess.run([installed / "conftrack", "--version"], cwd=tmp_path, capture_output=True, text=True)

    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert answer.returncode == 0, answer.stderr
    assert version in answer.stdout


def test_the_installed_package_reads_its_own_folders(installed: Path, tmp_path: Path) -> None:
    """Nothing reaches back to the checkout: modules, SQL, dashboards and the example are those of the wheel."""
    code = """if True:
        import json
        import conftrack.config, conftrack.resources, conftrack.sources
        folders = [conftrack.resources.folder(name) for name in ("sql", "dashboards")]
        assert conftrack.config.example()
        print(json.dumps([conftrack.__file__, *map(str, folders)]))
        assert {"janus", "pexip", "roomos"} <= set(conftrack.sources.kinds())
        """
    answer = subprocess.run([installed / "python", "-c", code], cwd=tmp_path, capture_output=True, text=True)

    assert answer.returncode == 0, answer.stderr
    paths = [Path(path) for path in json.loads(answer.stdout)]
    assert [path for path in paths if not path.is_relative_to(installed.parent) or not path.exists()] == []


def test_the_version_is_said_once(wheel: Path) -> None:
    """The package and its metadata agree on the version."""
    import conftrack

    assert wheel.name.split("-")[1] == conftrack.__version__


def test_the_lock_pins_every_dependency_and_names_no_place() -> None:
    """A fresh install gets the versions that the tests ran with, from whatever index its machine uses."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [Requirement(text) for text in project["dependencies"] + project["optional-dependencies"]["dev"]]
    lock = (ROOT / "requirements.lock").read_text()
    pinned = dict(re.findall(r"^([a-z0-9-]+)==([^\s;]+)", lock, re.MULTILINE))

    assert [str(one) for one in wanted if not one.specifier.contains(pinned.get(one.name.lower(), "0"))] == []
    assert "://" not in lock
