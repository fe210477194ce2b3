"""One Grafana over its HTTP API, by the package `grafana-api`, as a service account.

Everything here blocks: call it in a thread. What the package has no call for goes through its own low-level client
(`api.GET`, `api.PUT`, …), and what it would make of an answer that is not 2xx is judged here before it does: it cannot
read a refusal that is not JSON.

The API as its documentation tells it: https://grafana.com/docs/grafana/v11.6/developers/http_api/
"""

from __future__ import annotations

import io
import ssl
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import msgspec
import requests
from grafana_api.grafana_face import GrafanaFace

from conftrack.config import GrafanaConfig
from conftrack.errors import ConfigError, GrafanaError
from conftrack.grafana.content import Json
from conftrack.inventory.show import visible

_TIMEOUT = 30.0
"""Seconds, for one request."""

_MOST = 5000
"""What Grafana gives at most of one search."""

_RULES = "/v1/provisioning/alert-rules"
_BY_PEOPLE = {"X-Disable-Provenance": "true"}
"""Whoever may edit alert rules may edit these too: else they could not even be paused in Grafana."""

Read = TypeVar("Read")


class Folder(msgspec.Struct, rename="camel"):
    uid: str
    title: str
    version: int = 0


class Meta(msgspec.Struct, rename="camel"):
    """What a Grafana knows about a dashboard."""

    version: int = 0
    #: Who saved it last, and when (ISO 8601).
    updated_by: str = ""
    updated: str = ""
    folder_uid: str = ""
    #: It comes from a file, and only that can change it.
    provisioned: bool = False


class Dashboard(msgspec.Struct, rename="camel"):
    dashboard: Json
    meta: Meta


class Found(msgspec.Struct, rename="camel"):
    """A dashboard as a search finds it."""

    uid: str
    title: str = ""
    tags: list[str] = []


class Listed(msgspec.Struct, rename="camel"):
    """A data source as the list of all has it."""

    uid: str
    name: str
    json_data: Json | None = None
    read_only: bool = False


class DataSource(Listed, rename="camel"):
    type: str = ""
    access: str = ""
    url: str = ""
    user: str = ""
    basic_auth: bool = False
    basic_auth_user: str = ""
    with_credentials: bool = False
    is_default: bool = False
    version: int = 0
    #: Which secrets it has; their values nobody can read.
    secure_json_fields: dict[str, bool] = {}


class AlertRule(msgspec.Struct, kw_only=True):
    """A rule that Grafana evaluates, as its API for provisioning has it. Names are those of that API."""

    uid: str
    title: str
    folder_uid: str = msgspec.field(name="folderUID")
    rule_group: str = msgspec.field(name="ruleGroup", default="")
    condition: str = ""
    data: list[Json] = []
    no_data_state: str = msgspec.field(name="noDataState", default="")
    exec_err_state: str = msgspec.field(name="execErrState", default="")
    lasting: str = msgspec.field(name="for", default="")
    keep_firing_for: str | None = None
    missing_series_evals_to_resolve: int | None = msgspec.field(name="missingSeriesEvalsToResolve", default=None)
    is_paused: bool = msgspec.field(name="isPaused", default=False)
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    #: Whom it tells, where that is not left to the notification policies.
    notification_settings: Json | None = None
    #: ISO 8601.
    updated: str = ""
    #: What keeps it, such as a file; empty when people do.
    provenance: str = ""

    def settings(self) -> Json:
        settings: Json = msgspec.to_builtins(self)
        return settings


class RuleGroup(msgspec.Struct):
    #: Seconds.
    interval: int


class Rules(msgspec.Struct):
    """What a Prometheus says about its rules."""

    class Data(msgspec.Struct):
        class Group(msgspec.Struct):
            class Rule(msgspec.Struct):
                name: str

            rules: list[Rule] = []

        groups: list[Group] = []

    data: Data


class GrafanaClient:
    """Every method does one request, and raises a GrafanaError that says what to do. No message shows a secret."""

    def __init__(self, config: GrafanaConfig) -> None:
        missing = [f"`{key}`" for key in ("url", "token", "postgres_password") if getattr(config, key) is None]
        if config.url is None or config.token is None or config.postgres_password is None:
            raise ConfigError(f"conftrack grafana sync needs {', '.join(missing)} in [grafana]")
        self.url = config.url.rstrip("/")
        self._secrets = (config.token.reveal(), config.postgres_password.reveal())
        parts = urlsplit(self.url)
        authorities = ssl.get_default_verify_paths()  # the machine's, not those that come with requests
        trusted = config.ca_file or authorities.cafile or authorities.capath
        self._face = GrafanaFace(
            auth=self._secrets[0],
            host=parts.netloc,
            protocol=parts.scheme,
            url_path_prefix=f"{parts.path.strip('/')}/".lstrip("/"),
            verify=str(trusted) if trusted else True,
            timeout=_TIMEOUT,
        )
        self._api = self._face.api
        self._api.s.trust_env = False  # the configuration says all, and the environment nothing
        self._api.s.hooks["response"].append(self._judge)

    def close(self) -> None:
        self._api.s.close()

    def version(self) -> str:
        """Of the Grafana, where it tells. Raises unless there is one at the address."""
        health = self._find("looking for Grafana", Json, self._api.GET, "/health")
        if health is None or "database" not in health:
            raise GrafanaError(f"what answers at {self.url} is not Grafana: correct `url` in [grafana]")
        return visible(str(health.get("version", "")))

    def folder(self, uid: str) -> Folder | None:
        return self._find(f"reading folder {uid}", Folder, self._face.folder.get_folder, uid)

    def create_folder(self, uid: str, title: str) -> None:
        self._ask(f"creating folder {uid}", Json, self._face.folder.create_folder, title, uid)

    def rename_folder(self, uid: str, title: str, version: int) -> None:
        self._ask(f"renaming folder {uid}", Json, self._face.folder.update_folder, uid, title, version)

    def dashboard(self, uid: str) -> Dashboard | None:
        return self._find(f"reading dashboard {uid}", Dashboard, self._face.dashboard.get_dashboard, uid)

    def save_dashboard(self, uid: str, request: Json) -> None:
        self._ask(f"saving dashboard {uid}", Json, self._face.dashboard.update_dashboard, request)

    def delete_dashboard(self, uid: str) -> None:
        self._ask(f"deleting dashboard {uid}", Json, self._face.dashboard.delete_dashboard, uid)

    def tagged(self, tag: str) -> list[Found]:
        search = self._face.search.search_dashboards
        return self._ask("searching for dashboards", list[Found], lambda: search(tag=tag, type_="dash-db", limit=_MOST))

    def data_sources(self) -> list[Listed]:
        return self._ask("listing data sources", list[Listed], self._face.datasource.list_datasources)

    def data_source(self, uid: str) -> DataSource | None:
        return self._find(f"reading data source {uid}", DataSource, self._api.GET, f"/datasources/uid/{uid}")

    def create_data_source(self, uid: str, request: Json) -> None:
        self._ask(f"creating data source {uid}", Json, self._face.datasource.create_datasource, request)

    def update_data_source(self, uid: str, request: Json) -> None:
        self._ask(f"changing data source {uid}", Json, self._api.PUT, f"/datasources/uid/{uid}", request)

    def delete_data_source(self, uid: str) -> None:
        self._ask(f"deleting data source {uid}", Json, self._api.DELETE, f"/datasources/uid/{uid}")

    def test_data_source(self, uid: str) -> None:
        """Lets Grafana try it; raises with what Grafana says when it does not work."""
        self._ask(f"testing data source {uid}", Json, self._api.GET, f"/datasources/uid/{uid}/health")

    def prometheus_rules(self, uid: str) -> set[str]:
        """Names of the rules that the Prometheus of a data source evaluates itself; Grafana asks it."""
        path = f"/datasources/proxy/uid/{uid}/api/v1/rules"
        told = self._ask(f"asking data source {uid} for its rules", Rules, self._api.GET, path)
        return {rule.name for group in told.data.groups for rule in group.rules}

    def alert_rules(self) -> list[AlertRule]:
        listed = self._find("listing alert rules", list[AlertRule], self._api.GET, _RULES)
        if listed is None:
            raise GrafanaError(f"Grafana at {self.url} does no alerting: it is switched off in its configuration")
        return listed

    def alert_rule(self, uid: str) -> AlertRule | None:
        return self._find(f"reading alert rule {uid}", AlertRule, self._api.GET, f"{_RULES}/{uid}")

    def create_alert_rule(self, uid: str, request: Json) -> None:
        self._ask(f"creating alert rule {uid}", Json, self._api.POST, _RULES, request, _BY_PEOPLE)

    def update_alert_rule(self, uid: str, request: Json) -> None:
        self._ask(f"changing alert rule {uid}", Json, self._api.PUT, f"{_RULES}/{uid}", request, _BY_PEOPLE)

    def delete_alert_rule(self, uid: str) -> None:
        self._ask(f"deleting alert rule {uid}", type(None), self._api.DELETE, f"{_RULES}/{uid}", None, _BY_PEOPLE)

    def rule_group(self, folder: str, title: str) -> RuleGroup | None:
        return self._find(f"reading alert rule group {title}", RuleGroup, self._api.GET, _group(folder, title))

    def set_rule_group_interval(self, folder: str, title: str, seconds: int) -> None:
        """The rules are left alone, as they are by every request without `rules` (Grafana's provisioning service)."""
        request = {"title": title, "folderUid": folder, "interval": seconds}
        self._ask(f"changing alert rule group {title}", Json, self._api.PUT, _group(folder, title), request, _BY_PEOPLE)

    def _find(self, doing: str, kind: type[Read], call: Callable[..., Any], *arguments: Any) -> Read | None:
        try:
            return self._ask(doing, kind, call, *arguments)
        except GrafanaError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise

    def _ask(self, doing: str, kind: type[Read], call: Callable[..., Any], *arguments: Any) -> Read:
        try:
            return msgspec.convert(call(*arguments), kind)
        except GrafanaError as error:
            raise GrafanaError(f"{doing}: {error}", status=error.status) from None
        except msgspec.ValidationError as error:
            raise GrafanaError(f"{doing}: Grafana at {self.url} answers in an unknown way: {error}") from error
        except requests.exceptions.SSLError as error:
            raise GrafanaError(
                f"{doing}: the certificate of {self.url} is not to be trusted ({_cause(error)}): "
                "put the authority that signed it into `ca_file` in [grafana]"
            ) from None
        except requests.Timeout:
            raise GrafanaError(f"{doing}: Grafana at {self.url} did not answer within {_TIMEOUT:.0f} s") from None
        except requests.RequestException as error:
            raise GrafanaError(
                f"{doing}: Grafana at {self.url} cannot be reached ({_cause(error)}): "
                "is it running, and is `url` in [grafana] right?"
            ) from None

    def _judge(self, response: requests.Response, **_: object) -> None:
        """Raises unless the answer is a good one. Called by requests, before it would follow a redirect."""
        status = response.status_code
        if response.is_redirect:
            response.close()
            to = urlsplit(response.headers["location"])._replace(query="", fragment="").geturl()
            raise GrafanaError(f"{self.url} leads on to {self._clean(to)}: put the final address into `url`")
        if status == HTTPStatus.NO_CONTENT:
            response.raw.release_conn()
            response.raw = io.BytesIO(b"null")  # the package reads every answer as JSON
            return
        try:
            answer = response.json()
        except ValueError:
            if status == HTTPStatus.NOT_FOUND and not response.content:  # so it says that there is no alert rule
                raise GrafanaError(_advice(status, self.url, "no reason") or "", status=status) from None
            kind = self._clean(response.headers.get("content-type", "no content type"))
            if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise GrafanaError(self._failed(status, kind), status=status) from None
            # No status: a 404 of something else does not say that a dashboard is not there.
            raise GrafanaError(
                f"{self.url} answers {status} with {kind}, not with JSON: is `url` in [grafana] the start page of "
                "Grafana, and is there a log-in page or a proxy in front of it?"
            ) from None
        if status < HTTPStatus.BAD_REQUEST:
            return
        says = answer.get("message") if isinstance(answer, dict) else None
        says = self._clean(says if isinstance(says, str) and says else "no reason")
        raise GrafanaError(_advice(status, self.url, says) or self._failed(status, says), status=status)

    def _failed(self, status: int, says: str) -> str:
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return f"Grafana at {self.url} failed ({status}: {says}): run this again when it works"
        return f"Grafana at {self.url} refused ({status}: {says})"

    def _clean(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "…")
        return visible(text[:300])


def _group(folder: str, title: str) -> str:
    return f"/v1/provisioning/folder/{folder}/rule-groups/{quote(title, safe='')}"


def _advice(status: int, url: str, says: str) -> str | None:
    match status:
        case HTTPStatus.UNAUTHORIZED:
            return (
                f"Grafana at {url} does not accept the token (401: {says}): it has expired, was deleted, or is of "
                "another Grafana; make one under Administration, Service accounts, and put it into `token_file`"
            )
        case HTTPStatus.FORBIDDEN:
            return (
                f"Grafana at {url} does not allow it (403: {says}): give the service account of the token the role "
                "Admin, without which data sources cannot be changed"
            )
        case HTTPStatus.NOT_FOUND:
            return f"Grafana at {url} does not have it any more (404: {says}): run this again"
    return None


def _cause(error: BaseException) -> str:
    """The innermost reason: what is around it names objects of the library."""
    inner: object = error
    while isinstance(inner, BaseException):
        error, inner = inner, getattr(inner, "reason", None) or inner.__cause__ or next(iter(inner.args), None)
    says = getattr(error, "verify_message", None) or getattr(error, "strerror", None) or str(error)
    return visible(str(says).rpartition(": ")[2] or type(error).__name__)
