"""The configuration: one TOML file, every value overridable by environment, secrets also by file.

`load` reads all of it, collects every problem it finds and raises one ConfigError that names key, file and line.
What it returns is frozen and valid; parts are handed the piece they need, never the whole.

The structs are the whole list of keys: a field is a key, its type says how a value is read, and a function beside
the type (`Annotated`) what else must hold. A source kind's `Options` struct is read by the same rules.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import time, timedelta
from difflib import get_close_matches
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl, urlsplit
from zoneinfo import ZoneInfo

import msgspec
from platformdirs import user_data_path

from conftrack.config.checks import certificates, plain_name
from conftrack.config.mail import MailConfig, read_mail
from conftrack.config.reading import Reading, Secret, Where, fields
from conftrack.config.report import MailingList, ReportConfig, read_report
from conftrack.errors import ConfigError

__all__ = [
    "AlertsConfig",
    "Config",
    "DatabaseConfig",
    "GrafanaConfig",
    "MailConfig",
    "MailingList",
    "PrivacyConfig",
    "ReportConfig",
    "Role",
    "Secret",
    "SourceConfig",
    "WebConfig",
    "WebUser",
    "example",
    "is_loopback",
    "load",
    "read_listen",
    "user_name",
]

Role = Literal["viewer", "operator", "admin"]
"""What somebody who signed in may do: look; act on incidents too; all of that (and what only admins may, later)."""


# What a value must be beyond its type. Each raises a ValueError that ends the sentence "`key` must be …".


def _web_address(url: str) -> None:
    # No refusal shows the address: it may hold a password.
    try:
        parts = urlsplit(url)
        whole = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and not re.search(r"\s", url)
        (parts.hostname or "").encode("idna")
    except ValueError:  # a port that is no number, an unclosed [, a name that no host can have
        whole = False
    if not whole:
        raise ValueError("an address that starts with https:// or http:// and names a host")
    if "@" in parts.netloc:
        raise ValueError("an address without a user name or password in it: `username` and `password_file` hold those")


def _postgres(dsn: Secret) -> None:
    if not dsn.reveal().startswith(("postgresql://", "postgres://")):
        raise ValueError("an address that starts with postgresql:// or postgres://")


def _bearer(token: Secret) -> None:
    # It becomes a header of HTTP, and an error about that header would show it.
    if not re.fullmatch("[!-~]+", token.reveal()):
        raise ValueError("a token as Grafana shows it: letters, digits and signs, nothing before or after them")


_SSL_MODES = ("disable", "require", "verify-ca", "verify-full")


def _reader_address(url: str) -> None:
    try:
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        whole = parts.scheme in ("postgresql", "postgres") and parts.hostname and parts.port != 0
        whole = whole and re.fullmatch(r"/[^/\s]+", parts.path) and query.get("sslmode", "disable") in _SSL_MODES
    except ValueError:
        whole, query = False, {}
    if not whole or query.keys() - {"sslmode"} or "#" in url:
        modes = ", ".join(_SSL_MODES)
        raise ValueError(f"postgresql://HOST:PORT/DATABASE, and perhaps ?sslmode= and one of {modes}")
    if "@" in parts.netloc:
        raise ValueError("an address without a user name: it is read as conftrack_reader, with `postgres_password`")


def _some_time(span: timedelta) -> None:
    if not span:
        raise ValueError("longer than nothing")


def _quarter_hour(span: timedelta) -> None:
    if span < timedelta(minutes=15):
        raise ValueError("at least 15m, for records that arrive or change late")


def _two_months(span: timedelta) -> None:
    if span < timedelta(days=62):
        raise ValueError("at least 62d: the report of a month needs what was polled in it")


def _days(span: timedelta) -> None:
    if span < timedelta(days=1):
        raise ValueError("at least 1d")


def read_listen(address: str) -> tuple[str, int]:
    """Host and port of "127.0.0.1:8080", "[::1]:8080" or ":8080" (every IPv4 address)."""
    found = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([^\s:/\[\]]*)):([0-9]{1,5})", address)
    if not found or int(found[3]) > 65535:
        raise ValueError('an address and a port such as "127.0.0.1:8080", "[::1]:8080" or ":8080"')
    return found[1] or found[2] or "0.0.0.0", int(found[3])  # noqa: S104 - what ":8080" asks for


def _hours(text: str) -> None:
    found = re.fullmatch(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)", text)
    if not found or found.groups()[:2] >= found.groups()[2:]:
        raise ValueError('two times of one day such as "07:00-17:30", the earlier one first')


def user_name(name: str) -> None:
    """Raises a ValueError that says what the name of a user may be, if it may not."""
    if not re.fullmatch(r"[a-z0-9._-]{1,64}", name):
        raise ValueError("1 to 64 lower-case letters, digits, ., - or _")


def _argon2id(digest: Secret) -> None:
    if not re.fullmatch(r"\$argon2id\$v=19\$m=\d+,t=\d+,p=\d+\$[A-Za-z0-9+/]+\$[A-Za-z0-9+/]+", digest.reveal()):
        raise ValueError("what `conftrack user hash` prints: it starts with $argon2id$")


class SourceConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One `[[sources]]` table."""

    name: Annotated[str, plain_name]
    kind: str
    #: "" only where the kind has none (`has_url` of its class).
    url: Annotated[str, _web_address] = ""
    username: str | None = None
    password: Secret | None = None
    #: How often `live` is asked.
    live_interval: Annotated[timedelta, _some_time] = timedelta(seconds=10)
    #: How often history is caught up.
    history_interval: Annotated[timedelta, _some_time] = timedelta(seconds=60)
    #: How far before its cursor history is read again, for rows that arrive or change late; at least 15 minutes.
    overlap: Annotated[timedelta, _quarter_hour] = timedelta(minutes=15)
    #: For one request.
    timeout: Annotated[timedelta, _some_time] = timedelta(seconds=30)
    #: Certificate authorities to trust instead of the system's.
    ca_file: Annotated[Path, certificates] | None = None
    #: What a pushing system must present (HTTP Basic).
    push_username: str | None = None
    push_password: Secret | None = None
    #: The kind's own options, as its `Options` struct.
    options: msgspec.Struct | None = None


class DatabaseConfig(msgspec.Struct, frozen=True, kw_only=True):
    #: None: the embedded Postgres, data under `data_dir`.
    dsn: Annotated[Secret, _postgres] | None = None


class WebUser(msgspec.Struct, frozen=True, kw_only=True):
    """One `[[web.users]]` table: somebody who may sign in."""

    name: Annotated[str, user_name]
    password_hash: Annotated[Secret, _argon2id]
    role: Role


class WebConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Where the pages, the metrics and the pushes are served, and to whom; the file says host and port as `listen`."""

    host: str = "127.0.0.1"
    port: int = 8080
    #: Something in front of conftrack speaks https with the readers: cookies only ever travel by that, and everybody
    #: signs in, whatever `host` is.
    https: bool = False
    users: tuple[WebUser, ...] = ()

    @property
    def local(self) -> bool:
        """Only this machine reaches the pages."""
        return not self.https and is_loopback(self.host)


class AlertsConfig(msgspec.Struct, frozen=True, kw_only=True):
    """`[alerts]`: from when on somebody is told, and where the links of an alert lead."""

    #: An endpoint that cannot connect dials again for so long first.
    connect_failed_for: timedelta = timedelta(minutes=1)
    #: No conftrack can be scraped that has read any source.
    conftrack_down_for: timedelta = timedelta(minutes=1)
    #: All readings of a stream fail.
    source_down_for: timedelta = timedelta(minutes=2)
    #: The last good live poll, and the last good reading of a history, are older than this.
    live_stale_after: Annotated[timedelta, _some_time] = timedelta(seconds=90)
    history_stale_after: Annotated[timedelta, _some_time] = timedelta(minutes=15)
    #: In business hours (local, Monday to Friday) a history has been read no further than to so long ago.
    cursor_still_after: Annotated[timedelta, _some_time] = timedelta(minutes=30)
    business_hours: Annotated[str, _hours] = "07:00-17:30"
    #: So many records of a stream in an hour that could not be understood.
    rejected_records: Annotated[int, msgspec.Meta(ge=1)] = 1
    #: So many connections of a source in a day that ended for a reason nobody knows.
    unknown_causes: Annotated[int, msgspec.Meta(ge=1)] = 10
    #: The source says that it has more records than are stored.
    missing_records_for: timedelta = timedelta(minutes=30)
    #: Where people reach conftrack's pages, Grafana, and the runbooks (each alert's section is appended as #its-name).
    page_url: Annotated[str, _web_address] = "http://localhost:8080"
    grafana_url: Annotated[str, _web_address] = "http://localhost:3000"
    runbook_url: str = "dashboards/runbooks.md"

    @property
    def working_seconds(self) -> tuple[int, int]:
        """The business hours as seconds of the local day, the end excluded."""
        first, last = (time.fromisoformat(text) for text in self.business_hours.split("-"))
        return first.hour * 3600 + first.minute * 60, last.hour * 3600 + last.minute * 60


class GrafanaConfig(msgspec.Struct, frozen=True, kw_only=True):
    """`[grafana]`: a Grafana that is there already, for `conftrack grafana sync`."""

    #: Its start page. None: there is nothing to sync with.
    url: Annotated[str, _web_address] | None = None
    #: Of a service account with the role Admin.
    token: Annotated[Secret, _bearer] | None = None
    #: Certificate authorities to trust instead of the system's.
    ca_file: Annotated[Path, certificates] | None = None
    #: What the folder of the dashboards is called.
    folder: Annotated[str, msgspec.Meta(min_length=1)] = "conftrack"
    #: Where Grafana, not conftrack, reaches the two that dashboards read from.
    prometheus_url: Annotated[str, _web_address] = "http://localhost:9090"
    #: Without `sslmode` it is `require`.
    postgres_url: Annotated[str, _reader_address] = "postgresql://localhost:5432/conftrack?sslmode=disable"
    #: Of the role conftrack_reader.
    postgres_password: Secret | None = None


class PrivacyConfig(msgspec.Struct, frozen=True, kw_only=True):
    """`[privacy]`: what is kept of people and of sensitive meetings, and for how long."""

    #: Of a name that a person typed: nothing; a word that stands for it; beside that the name, apart from all else.
    names: Literal["drop", "pseudonym", "keep"] = "pseudonym"
    #: A name that was kept and not seen for so long is only its pseudonym.
    keep_names_for: Annotated[timedelta, _days] = timedelta(days=90)
    #: Patterns such as "*mật*" of titles and rooms; capitals and diacritics do not matter.
    sensitive: tuple[Annotated[str, msgspec.Meta(min_length=1)], ...] = ()
    #: What room sensors saw while their endpoint was in no meeting.
    keep_readings_for: Annotated[timedelta, _days] = timedelta(days=90)
    #: Content of records that could not be understood; entries of the audit; hours of polling.
    keep_rejected_for: Annotated[timedelta, _days] = timedelta(days=35)
    keep_audit_for: Annotated[timedelta, _days] = timedelta(days=5 * 365)
    keep_runs_for: Annotated[timedelta, _two_months] = timedelta(days=3 * 365)


class Config(msgspec.Struct, frozen=True, kw_only=True):
    #: Days and months are cut here.
    timezone: ZoneInfo = ZoneInfo("Asia/Ho_Chi_Minh")
    data_dir: Path = msgspec.field(default_factory=lambda: user_data_path("conftrack"))
    database: DatabaseConfig = DatabaseConfig()
    web: WebConfig = WebConfig()
    alerts: AlertsConfig = AlertsConfig()
    grafana: GrafanaConfig = GrafanaConfig()
    report: ReportConfig = ReportConfig()
    privacy: PrivacyConfig = PrivacyConfig()
    mail: MailConfig = MailConfig()
    sources: tuple[SourceConfig, ...] = ()
    #: What works but should not stay so, a sentence each.
    warnings: tuple[str, ...] = ()


class _Web(msgspec.Struct):
    """`[web]` as it is written."""

    listen: Annotated[str, read_listen] = "127.0.0.1:8080"
    https: bool = False


_TABLES = ("database", "web", "alerts", "grafana", "report", "mail", "privacy", "sources")


def load(path: Path | None, environ: Mapping[str, str], kinds: Mapping[str, type]) -> Config:
    """The configuration of the file `path`, else of the one CONFTRACK_CONFIG names, else of ./conftrack.toml, else the
    defaults without a source; `environ` wins over the file. `kinds` are the source classes by the name of their kind.

    Relative paths are relative to the file. An empty variable counts as not set. Raises one ConfigError with every
    problem on a line of its own; no line shows a secret.
    """
    reading = Reading(_find(path, environ), environ)
    top = reading.table((), fields(Config, *_TABLES, "warnings"), *_TABLES)
    database = reading.table(("database",), fields(DatabaseConfig))
    web = reading.table(("web",), fields(_Web), "users")
    alerts = reading.table(("alerts",), fields(AlertsConfig))
    sources = [_source(reading, ("sources", number), kinds) for number in range(reading.count("sources"))]
    users = [
        reading.table(("web", "users", number), fields(WebUser)) for number in range(reading.count("web", "users"))
    ]
    _unique(reading, ("sources",), sources)
    _unique(reading, ("web", "users"), users)
    grafana = GrafanaConfig(**reading.table(("grafana",), fields(GrafanaConfig)))
    mail, report = read_mail(reading), read_report(reading)
    _unique(reading, ("report", "mail"), [{"name": one.name} for one in report.mail])
    privacy = reading.table(("privacy",), fields(PrivacyConfig))
    reading.finish()
    host, port = read_listen(web.get("listen", _Web().listen))
    return Config(
        **top,
        database=DatabaseConfig(**database),
        web=WebConfig(
            host=host, port=port, https=web.get("https", False), users=tuple(WebUser(**user) for user in users)
        ),
        alerts=AlertsConfig(**alerts),
        grafana=grafana,
        report=report,
        mail=mail,
        privacy=PrivacyConfig(**privacy),
        sources=tuple(SourceConfig(**source) for source in sources),
        warnings=_warnings(reading, sources, grafana, mail),
    )


def _warnings(
    reading: Reading, sources: list[dict[str, Any]], grafana: GrafanaConfig, mail: MailConfig
) -> tuple[str, ...]:
    clear = [
        f"`url` in {table} ({reading.place(*where, 'url')}) is plain http: "
        "what is sent there, the password too, can be read on the way; use https if the system can"
        for where, table, url in (
            *(
                (("sources", number), f'[[sources]] "{source["name"]}"', source.get("url", ""))
                for number, source in enumerate(sources)
            ),
            (("grafana",), "[grafana]", grafana.url or ""),
        )
        if _leaves_in_the_clear(url)
    ]
    if mail.host is not None and mail.security == "none" and not is_loopback(mail.host):
        clear.append(
            f'`security` in [mail] ({reading.place("mail", "security")}) is "none": '
            "reports, and the password too, can be read on the way; use starttls or tls if the server can"
        )
    return tuple(clear)


def example() -> str:
    """A whole configuration file: every key and what it is for. What stands behind `#` may be left out."""
    return (Path(__file__).parent / "example.toml").read_text(encoding="utf-8")


def _find(path: Path | None, environ: Mapping[str, str]) -> Path | None:
    by = "--config"
    if path is None and environ.get("CONFTRACK_CONFIG"):
        path, by = Path(environ["CONFTRACK_CONFIG"]), "CONFTRACK_CONFIG"
    if path is None:
        path = Path("conftrack.toml")
        return path if os.path.lexists(path) else None
    if not os.path.lexists(path):
        raise ConfigError(f"{path}: there is no such file ({by} names it)")
    return path


def _source(reading: Reading, where: Where, kinds: Mapping[str, type]) -> dict[str, Any]:
    """The fields of one `[[sources]]` table, the options of its kind among them."""

    def known(kind: str) -> None:
        if kind not in kinds:
            nearest = "".join(get_close_matches(kind, kinds, 1, 0))
            raise ValueError(f'a kind of source such as "{nearest}" (there are: {", ".join(sorted(kinds))})')

    common = fields(SourceConfig, "options")
    common["kind"] = common["kind"]._replace(checks=(known,))
    kind = reading.given(*where, "kind")
    source = kinds.get(kind.value) if kind and isinstance(kind.value, str) else None
    common["url"] = common["url"]._replace(required=True)
    if not getattr(source, "has_url", True):
        del common["url"]
    options = getattr(source, "Options", None)
    own = fields(options, *common) if options else {}
    values = reading.table(where, common | own, complete=source is not None)
    mine = {name: values.pop(name) for name in own if name in values}
    if options and all(name in mine for name, field in own.items() if field.required):
        try:
            values["options"] = options(**mine)
        except ValueError as exc:  # its __post_init__
            reading.problem((*where, "kind"), f"has options that do not fit together: {exc}")
    return values


def _unique(reading: Reading, where: Where, tables: list[dict[str, Any]]) -> None:
    """No two of these tables have one name."""
    names = [table.get("name") for table in tables]
    for number, name in enumerate(names):
        if name and (first := names.index(name)) < number:
            earlier = reading.place(*where, first, "name")
            reading.problem((*where, number, "name"), f"must be unique: {earlier} has it already")


def _leaves_in_the_clear(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "http" and not is_loopback(parts.hostname or "")


def is_loopback(host: str) -> bool:
    """Whether a name or address is this machine's own."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
