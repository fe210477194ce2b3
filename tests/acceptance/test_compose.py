"""`docker compose up` as far as it can be judged without an engine: the files fit each other and give nothing away."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any, ClassVar

import jsonschema
import pytest
import yaml

from conftrack.config import Secret, WebConfig, load
from tests.alerting import program

ROOT = Path(__file__).resolve().parents[2]
DASHBOARDS = ROOT / "dashboards"
SCHEMA = Path(__file__).parent / "data" / "compose.schema.json"
TEXT = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE: str = SERVICES["conftrack"]["build"]["dockerfile_inline"]

every_service = pytest.mark.parametrize("name", SERVICES)


def problems(compose: object) -> list[str]:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    return [error.message for error in jsonschema.Draft7Validator(schema).iter_errors(compose)]


def mounts(name: str) -> dict[str, str]:
    """What is mounted into a service: source by target."""
    volumes = SERVICES[name].get("volumes", [])
    short = (volume.split(":") for volume in volumes if isinstance(volume, str))
    return {v["target"]: v["source"] for v in volumes if isinstance(v, dict)} | {v[1]: v[0] for v in short}


def test_the_file_fits_the_compose_specification() -> None:
    """No key is misspelt, no value of the wrong kind; a misspelt key would be noticed."""
    assert problems(COMPOSE) == []
    assert problems({**COMPOSE, "services": {"web": {"image": "x", "heathcheck": {}}}}) != []


def test_the_services_are_the_promised_ones() -> None:
    """One command brings the database, the collector, the series, the alerts and the dashboards."""
    assert set(SERVICES) == {"postgres", "conftrack", "prometheus", "alertmanager", "grafana"}


@every_service
def test_every_image_is_pinned(name: str) -> None:
    """The same file brings up the same programs next year."""
    service = SERVICES[name]
    images = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) if "build" in service else [service["image"]]

    assert images
    assert all(re.search(r":v?\d+\.\d+(\.\d+)?(-|$)", image) for image in images)


@every_service
def test_every_service_says_when_it_is_well_and_comes_back_after_a_reboot(name: str) -> None:
    """`docker compose ps` tells the truth, and nobody has to start anything by hand."""
    assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"
    assert SERVICES[name]["restart"] == "unless-stopped"


@every_service
def test_no_service_keeps_rights_that_it_does_not_need(name: str) -> None:
    """Nothing runs as root but the first step of Postgres, which hands its volume over to its own user."""
    service = SERVICES[name]
    user = re.search(r"^USER (\S+)", DOCKERFILE, re.MULTILINE) if "build" in service else None

    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    if name == "postgres":
        assert "SYS_ADMIN" not in service["cap_add"]
    else:
        assert "cap_add" not in service
        assert service["read_only"] is True
        assert (user[1] if user else service["user"]).split(":")[0] not in ("0", "root")


def test_no_secret_stands_in_the_file() -> None:
    """Every password is asked for by name, and its absence is an error, never an empty password."""
    secrets = [
        (key, value)
        for service in SERVICES.values()
        for key, value in service.get("environment", {}).items()
        if re.search("PASS|SECRET|TOKEN|KEY", key)
    ]

    assert len(secrets) >= 4
    assert [key for key, value in secrets if not re.fullmatch(r"\$\{[A-Z_]+:\?.+\}", value)] == []
    assert re.findall(r"://[^/\s]*:[^/\s]*@", TEXT) == []


def test_only_the_pages_are_published_and_by_default_to_this_machine_alone() -> None:
    """A first `up` opens nothing to the network; the database and Prometheus stay inside even later."""
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}

    assert published == {
        "conftrack": ["${WEB_ADDRESS:-127.0.0.1:8080}:8080"],
        "grafana": ["${GRAFANA_ADDRESS:-127.0.0.1:3000}:3000"],
    }


def test_every_variable_is_explained_in_the_readme() -> None:
    """Nobody has to read the file to fill in .env."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    variables = set(re.findall(r"(?<!\$)\$\{([A-Z_]+)", TEXT))

    assert variables >= {"POSTGRES_PASSWORD", "GRAFANA_ADMIN_PASSWORD"}
    assert {name for name in variables if name not in readme} == set()


@every_service
def test_what_is_mounted_exists(name: str) -> None:
    """Docker makes an empty folder of a file that is missing; the one file that the operator writes is demanded."""
    for volume in SERVICES[name].get("volumes", []):
        if isinstance(volume, dict):
            assert volume["source"] == "./conftrack.toml"
            assert volume["bind"]["create_host_path"] is False
        elif volume.startswith("."):
            source, _, mode = volume.split(":")
            assert (ROOT / source).is_dir()
            assert mode == "ro"
        else:
            assert volume.split(":")[0] in COMPOSE["volumes"]


def test_the_image_is_built_from_files_that_are_there() -> None:
    """The build copies what the wheel is made of, and nothing that only lies in somebody's checkout."""
    copied = {name for line in re.findall(r"^COPY (.+) \S+$", DOCKERFILE, re.MULTILINE) for name in line.split()}

    assert copied == {"pyproject.toml", "requirements.lock", "README.md", "LICENSE", "conftrack", "sql", "dashboards"}
    assert {name for name in copied if not (ROOT / name).exists()} == set()


class Plain:
    Options: ClassVar = None


def test_the_collector_accepts_its_environment(tmp_path: Path) -> None:
    """What the file sets in the container is what the configuration knows: the database, the port, the data."""
    path = tmp_path / "conftrack.toml"
    path.touch()
    environment = {**SERVICES["conftrack"]["environment"], "CONFTRACK_CONFIG": str(path)}
    config = load(None, environment, {"plain": Plain})

    assert config.database.dsn == Secret("postgresql://conftrack@postgres/conftrack")
    assert config.web == WebConfig(host="0.0.0.0", port=8080)  # noqa: S104 - inside the container
    assert str(config.data_dir) in mounts("conftrack")
    assert SERVICES["conftrack"]["environment"]["CONFTRACK_CONFIG"] in mounts("conftrack")


def test_the_database_has_the_role_that_grafana_reads_with() -> None:
    """Grafana logs in as the role that sees the public views and nothing else."""
    (source,) = SERVICES["postgres"]["configs"]
    sources = yaml.safe_load((DASHBOARDS / "grafana/provisioning/datasources/conftrack.yml").read_text())["datasources"]
    (postgres,) = [one for one in sources if one["type"] == "grafana-postgresql-datasource"]

    assert source["target"].startswith("/docker-entrypoint-initdb.d/")
    assert f"create role {postgres['user']} login" in COMPOSE["configs"][source["source"]]["content"]
    assert postgres["user"] == "conftrack_reader"
    password = postgres["secureJsonData"]["password"].removeprefix("$")
    assert SERVICES["grafana"]["environment"][password] == SERVICES["postgres"]["environment"][password]


def test_grafana_finds_its_sources_and_dashboards() -> None:
    """Addresses are those of the services, and the dashboards are where the provider looks for them."""
    folder = DASHBOARDS / "grafana/provisioning"
    sources = yaml.safe_load((folder / "datasources/conftrack.yml").read_text())["datasources"]
    (provider,) = yaml.safe_load((folder / "dashboards/conftrack.yml").read_text())["providers"]

    hosts = {re.sub(r"^http://", "", one["url"]).split(":")[0] for one in sources}
    assert hosts == {"prometheus", "postgres"}
    assert mounts("grafana")["/etc/grafana/provisioning"] == "./dashboards/grafana/provisioning"
    assert mounts("grafana")[provider["options"]["path"]] == "./dashboards/grafana"
    home = Path(SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert str(home.parent) == provider["options"]["path"]
    assert (DASHBOARDS / "grafana" / home.name).exists()


def test_prometheus_scrapes_the_collector() -> None:
    """The target is the service and the port that it listens on."""
    prometheus = yaml.safe_load((DASHBOARDS / "prometheus/prometheus.yml").read_text())
    (job,) = prometheus["scrape_configs"]

    assert job["static_configs"] == [{"targets": ["conftrack:8080"]}]
    assert mounts("prometheus")["/etc/prometheus"] == "./dashboards/prometheus"


def test_prometheus_tells_alertmanager() -> None:
    """It has the shipped rules, and its alerts go to the service that has the shipped routes."""
    prometheus = yaml.safe_load((DASHBOARDS / "prometheus/prometheus.yml").read_text())
    (told,) = prometheus["alerting"]["alertmanagers"]
    (option,) = [o for o in SERVICES["alertmanager"]["command"] if o.startswith("--config.file=")]

    assert told["static_configs"] == [{"targets": ["alertmanager:9093"]}]
    assert [file for pattern in prometheus["rule_files"] for file in (DASHBOARDS / "prometheus").glob(pattern)]
    assert mounts("alertmanager")["/etc/alertmanager"] == "./dashboards/prometheus"
    assert option == "--config.file=/etc/alertmanager/alertmanager.yml"


def test_alertmanager_finds_its_secrets() -> None:
    """Every file that its configuration names is there, even where the operator has no such receiver."""
    text = (DASHBOARDS / "prometheus/alertmanager.yml").read_text(encoding="utf-8")
    names = SERVICES["alertmanager"]["secrets"]
    files = [COMPOSE["secrets"][name]["file"] for name in names]

    assert set(re.findall(r"_file: (/\S+)", text)) == {f"/run/secrets/{name}" for name in names}
    assert [file for file in files if not re.fullmatch(r"\$\{[A-Z_]+_FILE:-/dev/null\}", file)] == []


def test_prometheus_accepts_its_configuration() -> None:
    """Judged by Prometheus itself, with the rules that it loads."""
    checked = subprocess.run(
        [program("promtool"), "check", "config", DASHBOARDS / "prometheus/prometheus.yml"],
        capture_output=True,
        text=True,
    )

    assert checked.returncode == 0, checked.stderr
