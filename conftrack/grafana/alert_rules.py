"""The difference between the alert rules that conftrack brings and those that a Grafana has.

A rule is conftrack's by its uid and by an annotation that only `sync` leaves, whichever folder or group somebody moved
it to. Rules are written one by one, never as a group: a group that is written whole loses what others put into it. Only
its interval is the group's. Whom a rule tells, its `notification_settings`, is not conftrack's to say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Any
from zoneinfo import ZoneInfo

from conftrack.errors import GrafanaError
from conftrack.grafana.changes import Change, changed_meanwhile, local
from conftrack.grafana.client import AlertRule, GrafanaClient
from conftrack.grafana.content import FOLDER, PREFIX, Json
from conftrack.grafana.differences import differences
from conftrack.inventory.show import visible

MARK = "__conftrack_sync__"
"""The annotation of every rule that sync made. Underscores on both sides keep it out of notifications."""


_SINCE_12 = ("keep_firing_for", "missingSeriesEvalsToResolve")
"""Settings that an older Grafana ignores, and does not give back."""


@dataclass
class RulePlan:
    changes: list[Change] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def plan_alert_rules(client: GrafanaClient, groups: Sequence[Json], timezone: ZoneInfo, *, prune: bool) -> RulePlan:
    """What is to be done so that Grafana has the rules of `groups`; only reads. The folder must be there by then."""
    plan = RulePlan()
    listed = client.alert_rules()
    there = {rule.uid: rule for rule in listed}
    wanted = {rule["uid"]: group["title"] for group in groups for rule in group["rules"]}
    titles = {one.title: one.uid for one in listed if one.folder_uid == FOLDER and one.uid not in wanted}
    for rule in (rule for group in groups for rule in group["rules"]):
        if holder := titles.get(rule["title"]):
            plan.problems.append(
                f"alert rule {visible(holder)} is called {rule['title']!r}, as {rule['uid']} must be: rename it"
            )
        brought = rule | {
            "folderUID": FOLDER,
            "ruleGroup": wanted[rule["uid"]],
            "annotations": rule["annotations"] | {MARK: "true"},
        }
        _rule(client, plan, brought, there.get(rule["uid"]), timezone)
    plan.changes.sort(key=lambda change: change.sign == "+")  # a title that a change gives back is free for a new rule
    for group in groups:
        _interval(client, plan, group)
    for gone in listed:
        if gone.uid not in wanted and gone.uid.startswith(PREFIX) and MARK in gone.annotations and not gone.provenance:
            what = f"alert rule {gone.uid} {visible(gone.title)!r}"
            if prune:
                delete = _unless_changed(client, what, gone, timezone, partial(client.delete_alert_rule, gone.uid))
                plan.changes.append(Change(sign="-", what=what, lines=[_saved(gone, timezone)], make=delete))
            else:
                plan.left.append(what)
    return plan


def _rule(client: GrafanaClient, plan: RulePlan, brought: Json, there: AlertRule | None, timezone: ZoneInfo) -> None:
    what = f"alert rule {brought['uid']} {brought['title']!r}"
    if there is None:
        plan.changes.append(Change(sign="+", what=what, make=_creating(client, what, brought, timezone)))
    elif MARK not in there.annotations:
        plan.problems.append(f"{what} is there, and conftrack did not make it: delete it, or give it another uid")
    elif there.provenance:
        plan.problems.append(f"{what} is kept by something else ({visible(there.provenance)}): take it out there")
    elif lines := list(differences(*_compared(there, brought))):
        kept = brought | {"notification_settings": there.notification_settings}
        update = _unless_changed(client, what, there, timezone, partial(client.update_alert_rule, there.uid, kept))
        plan.changes.append(Change(sign="~", what=what, lines=[_saved(there, timezone), *lines], make=update))


def _interval(client: GrafanaClient, plan: RulePlan, group: Json) -> None:
    title, interval = group["title"], group["interval"]
    stands = client.rule_group(FOLDER, title)
    if stands is None or stands.interval != interval:
        plan.changes.append(
            Change(
                sign="~" if stands else "+",
                what=f"alert rule group {title!r}",
                lines=[*differences(stands and stands.interval, interval, "interval in seconds")],
                make=partial(client.set_rule_group_interval, FOLDER, title, interval),
            )
        )


def _creating(client: GrafanaClient, what: str, brought: Json, timezone: ZoneInfo) -> Callable[[], None]:
    def create() -> None:
        try:
            client.create_alert_rule(brought["uid"], brought)
        except GrafanaError as error:
            # Which of the two a uid that is taken gives depends on the version.
            if error.status not in (HTTPStatus.BAD_REQUEST, HTTPStatus.CONFLICT):
                raise
            now = client.alert_rule(brought["uid"])
            if now is None:
                raise
            raise changed_meanwhile(what, _saved(now, timezone), error) from error

    return create


def _unless_changed(
    client: GrafanaClient, what: str, there: AlertRule, timezone: ZoneInfo, make: Callable[[], None]
) -> Callable[[], None]:
    """Grafana cannot make a write depend on what it replaces, so it is read again just before."""

    def make_unless_changed() -> None:
        now = client.alert_rule(there.uid)
        if now is None or now.updated != there.updated:
            raise changed_meanwhile(what, _saved(now, timezone) if now else "it is gone")
        make()

    return make_unless_changed


def _compared(there: AlertRule, brought: Json) -> tuple[Json, Json]:
    """Both sides, without what Grafana adds of its own to a query, and without settings that an older one has not."""
    has = there.settings()
    has["data"] = _within(has["data"], brought["data"])
    known = [key for key in brought if has[key] is not None or key not in _SINCE_12]
    return {key: has[key] for key in known}, {key: brought[key] for key in known}


def _within(has: Any, brought: Any) -> Any:
    if isinstance(has, list) and isinstance(brought, list) and len(has) == len(brought):
        return [_within(*pair) for pair in zip(has, brought, strict=True)]
    if isinstance(has, dict) and isinstance(brought, dict):
        return {key: _within(has.get(key), value) for key, value in brought.items()}
    return has


def _saved(rule: AlertRule, timezone: ZoneInfo) -> str:
    return f"last saved on {local(rule.updated, timezone)}; Grafana does not say by whom"
