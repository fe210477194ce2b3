"""The alerting of a strict Grafana 13, from its documentation of alerting provisioning: rules, groups, a data source's
own rules.

https://grafana.com/docs/grafana/v13.0/alerting/set-up/provision-alerting-resources/http-api-provisioning/
"""

from __future__ import annotations

import copy
import re
from typing import Any

from aiohttp import web

from tests.grafana_server import FakeGrafana, Json, Refusal, Route

_NEEDED = ("title", "ruleGroup", "folderUID", "condition", "data", "noDataState", "execErrState", "for")
_FIELDS = {
    *_NEEDED, "id", "uid", "orgID", "updated", "provenance", "annotations", "labels", "isPaused", "keep_firing_for",
    "notification_settings", "record", "missingSeriesEvalsToResolve",
}  # fmt: skip
_STEP_FIELDS = {"refId", "queryType", "relativeTimeRange", "datasourceUid", "model"}
_NO_DATA, _ERROR = {"Alerting", "NoData", "OK", "KeepLast"}, {"Alerting", "Error", "OK", "KeepLast"}
_UNITS = {"y": 31_536_000_000, "w": 604_800_000, "d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}


class AlertingGrafana(FakeGrafana):
    """A FakeGrafana that alerts too. Without this class every question about alert rules is an unknown one."""

    def __init__(self) -> None:
        super().__init__()
        #: By uid, as the API gives them.
        self.rules: dict[str, Json] = {}
        #: Seconds, by folder and group.
        self.intervals: dict[tuple[str, str], int] = {}
        #: Names of the rules that the Prometheus behind each data source evaluates itself.
        self.prometheus_rules: list[str] = []
        self.alerting = True
        #: One that knows neither of the settings that came with Grafana 12.
        self.before_12 = False
        self._saves = 0

    def _routes(self) -> list[Route]:
        rules, group = "/v1/provisioning/alert-rules", "/v1/provisioning/folder/{folder}/rule-groups/{group}"
        return [
            *super()._routes(),
            ("GET", rules, self._list_rules),
            ("POST", rules, self._create_rule),
            ("GET", f"{rules}/{{uid}}", self._get_rule),
            ("PUT", f"{rules}/{{uid}}", self._update_rule),
            ("DELETE", f"{rules}/{{uid}}", self._delete_rule),
            ("GET", group, self._get_group),
            ("PUT", group, self._update_group),
            ("GET", "/datasources/proxy/uid/{uid}/api/v1/rules", self._proxied_rules),
        ]

    def edit_rule(self, uid: str, **changes: Any) -> None:
        """Somebody saves a rule in the browser."""
        self.add_rule(**self.rules[uid] | changes)

    def add_rule(self, **fields: Any) -> Json:
        """One that is there; also what a person makes by hand."""
        self._saves += 1
        rule: Json = {
            "id": self._saves, "orgID": 1, "condition": "A", "data": [], "noDataState": "NoData",
            "execErrState": "Error", "for": "0s", "keep_firing_for": "0s", "isPaused": False,
            "notification_settings": None, "record": None, "provenance": "", **copy.deepcopy(fields),
            "updated": f"2026-11-24T12:{self._saves // 60:02}:{self._saves % 60:02}Z",
        }  # fmt: skip
        for step in rule["data"]:
            step["model"] = {"intervalMs": 1000, "maxDataPoints": 43200} | step["model"]
        for span in ("for", "keep_firing_for"):
            rule[span] = _normal(rule[span])
        for key in ("annotations", "labels", "provenance", "missingSeriesEvalsToResolve"):
            if not rule.get(key):
                rule.pop(key, None)
        if self.before_12:
            for key in ("keep_firing_for", "missingSeriesEvalsToResolve"):
                rule.pop(key, None)
        self.rules[rule["uid"]] = rule
        self.intervals.setdefault((rule["folderUID"], rule["ruleGroup"]), 60)
        return rule

    def state(self) -> Json:
        return super().state() | copy.deepcopy({"rules": self.rules, "intervals": self.intervals})

    # -- rules

    async def _list_rules(self, request: web.Request) -> web.Response:
        if not self.alerting:
            raise Refusal(404, "Not found")
        return web.json_response(list(self.rules.values()))

    async def _get_rule(self, request: web.Request) -> web.Response:
        rule = self.rules.get(request.match_info["uid"])
        return web.json_response(rule) if rule else web.Response(status=404)

    async def _create_rule(self, request: web.Request) -> web.Response:
        body = await self._rule(request)
        uid = body.get("uid") or f"generated-{self._saves}"
        if not re.fullmatch(r"[a-zA-Z0-9_-]{1,40}", uid):
            raise Refusal(400, f"invalid alert rule: cannot create rule with UID '{uid}'")
        if uid in self.rules:
            raise Refusal(409, "rule UID under the same organisation should be unique")
        self._title_is_free(body, uid)
        made = self.add_rule(**body | {"uid": uid, "provenance": _provenance(request)})
        return web.json_response(made, status=201)

    async def _update_rule(self, request: web.Request) -> web.Response:
        body = await self._rule(request)
        uid = request.match_info["uid"]
        if uid not in self.rules:
            return web.Response(status=404)
        held = self.rules[uid].get("provenance", "")
        if held and held != _provenance(request):
            raise Refusal(409, f"cannot change provenance from '{held}' to '{_provenance(request)}'")
        self._title_is_free(body, uid)
        made = self.add_rule(**body | {"uid": uid, "provenance": _provenance(request)})
        return web.json_response(made)

    async def _delete_rule(self, request: web.Request) -> web.Response:
        """Deleting what is gone is no error."""
        uid = request.match_info["uid"]
        self.writes.append(f"DELETE /v1/provisioning/alert-rules/{uid}")
        self.rules.pop(uid, None)
        return web.Response(status=204)

    async def _rule(self, request: web.Request) -> Json:
        body = await self._body(request, *_FIELDS, needs=_NEEDED)
        refused = [
            *sorted(field for step in body["data"] for field in step.keys() - _STEP_FIELDS),
            *(step["refId"] for step in body["data"] if step["model"].get("refId") != step["refId"]),
            *(step["refId"] for step in body["data"] if not self._is_asked(step)),
        ]
        if refused or body["condition"] not in [step["refId"] for step in body["data"]]:
            raise Refusal(400, f"invalid alert rule: {refused or 'condition does not exist'}")
        if body["noDataState"] not in _NO_DATA or body["execErrState"] not in _ERROR:
            raise Refusal(400, "invalid alert rule: unknown state")
        if body["folderUID"] not in self.folders:
            raise Refusal(400, "invalid alert rule: folder does not exist")
        return body

    def _is_asked(self, step: Json) -> bool:
        """Of an expression, or of a data source over some time."""
        if step["datasourceUid"] == "__expr__":
            return step["model"].get("type") in ("math", "reduce", "resample", "classic_conditions", "threshold")
        span = step["relativeTimeRange"]
        return step["datasourceUid"] in self.sources and span["from"] > span["to"] >= 0

    def _title_is_free(self, body: Json, uid: str) -> None:
        for other in self.rules.values():
            if other["uid"] != uid and all(other[key] == body[key] for key in ("folderUID", "title")):
                raise Refusal(409, "rule title under the same organisation and folder should be unique")

    # -- groups

    def _group(self, request: web.Request) -> tuple[str, str]:
        key = request.match_info["folder"], request.match_info["group"]
        if not any((rule["folderUID"], rule["ruleGroup"]) == key for rule in self.rules.values()):
            raise Refusal(404, "rule group not found", messageId="alerting.alert-rule.notFound")
        return key

    async def _get_group(self, request: web.Request) -> web.Response:
        folder, title = key = self._group(request)
        rules = [rule for rule in self.rules.values() if (rule["folderUID"], rule["ruleGroup"]) == key]
        return web.json_response({"title": title, "folderUid": folder, "interval": self.intervals[key], "rules": rules})

    async def _update_group(self, request: web.Request) -> web.Response:
        """Without rules only the interval; with rules all others of the group would go, and none may ask for that."""
        body = await self._body(request, "title", "folderUid", "interval", needs=("interval",))
        key = self._group(request)
        if body["interval"] % 10:
            raise Refusal(400, "interval should be non-zero and divided exactly by scheduler interval: 10s")
        self.intervals[key] = body["interval"]
        return web.json_response(body | {"rules": None})

    async def _proxied_rules(self, request: web.Request) -> web.Response:
        self._source(request)
        rules = [{"name": name, "type": "alerting", "query": "x", "health": "ok"} for name in self.prometheus_rules]
        groups = [{"name": "conftrack", "file": "/rules.yml", "interval": 2, "rules": rules}] if rules else []
        return web.json_response({"status": "success", "data": {"groups": groups}})


def _provenance(request: web.Request) -> str:
    return "" if "X-Disable-Provenance" in request.headers else "api"


def _normal(span: str) -> str:
    """As Prometheus's libraries write a duration: 90s is 1m30s, years and weeks only where nothing is left over."""
    if not re.fullmatch(r"(\d+(ms|[ywdhms]))+", span):
        raise Refusal(400, f"not a valid duration string: {span!r}")
    rest = sum(int(count) * _UNITS[unit] for count, unit in re.findall(r"(\d+)(ms|[ywdhms])", span))
    text = ""
    for unit, size in _UNITS.items():
        if unit in "yw" and rest % size:
            continue
        count, rest = divmod(rest, size)
        text += f"{count}{unit}" if count else ""
    return text or "0s"
