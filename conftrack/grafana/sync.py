"""The difference between what conftrack brings and what a Grafana has, and how each change of it is made.

What conftrack made is known by its uid and by a mark that only `sync` leaves: a tag on a dashboard, a key in the
jsonData of a data source. Whatever lacks one of the two is somebody else's, and is neither changed nor deleted; nor is
what a data source has beyond the settings that conftrack brings. A folder cannot be marked: it is conftrack's by its
uid, is never deleted, and is renamed only while it holds something marked. Alert rules are planned in `alert_rules`.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from zoneinfo import ZoneInfo

from conftrack import __version__
from conftrack.config import GrafanaConfig
from conftrack.errors import ConftrackError, GrafanaError
from conftrack.grafana.alert_rules import plan_alert_rules
from conftrack.grafana.changes import Change, Plan, changed_meanwhile, guarded, local
from conftrack.grafana.client import Dashboard, DataSource, GrafanaClient, Meta
from conftrack.grafana.content import FOLDER, POSTGRES, PREFIX, Json
from conftrack.grafana.differences import differences
from conftrack.inventory.show import visible

TAG = "conftrack-sync"
"""On every dashboard that sync made. Putting it on one hands that over to conftrack; taking it off takes it back."""

KEY = "conftrack"
"""In the jsonData of every data source that sync made: which version did, and a fingerprint of the password."""


def plan(
    client: GrafanaClient,
    config: GrafanaConfig,
    boards: Sequence[Json],
    sources: Sequence[Json],
    timezone: ZoneInfo,
    *,
    rule_groups: Sequence[Json] | None = None,
    prune: bool,
) -> Plan:
    """What is to be done so that Grafana has `boards`, `sources` and `rule_groups`; empty when it has. Only reads.

    Without `rule_groups` alert rules are let be. With `prune` what sync made once and does not bring any more is
    deleted. Raises one error that names everything that stands in the way.
    """
    return _Planning(client, config, timezone, prune=prune).plan(boards, sources, rule_groups)


@dataclass
class _Planning:
    client: GrafanaClient
    config: GrafanaConfig
    timezone: ZoneInfo
    prune: bool = field(kw_only=True)

    def __post_init__(self) -> None:
        self.changes: list[Change] = []
        self.left: list[str] = []
        self.problems: list[str] = []

    def plan(self, boards: Sequence[Json], sources: Sequence[Json], rule_groups: Sequence[Json] | None) -> Plan:
        marked = [found for found in self.client.tagged(TAG) if found.uid.startswith(PREFIX)]
        listed = self.client.data_sources()
        self._folder(bool(marked))
        names = {one.name: one.uid for one in listed}
        for source in sources:
            holder = names.get(source["name"])
            if holder is not None and holder != source["uid"]:
                self.problems.append(
                    f"data source {visible(holder)} is called {source['name']!r}, as {source['uid']} must be: rename it"
                )
            self._data_source(source, self.client.data_source(source["uid"]))
        for board in boards:
            self._dashboard(board, self.client.dashboard(board["uid"]))
        if rule_groups is not None:
            rules = plan_alert_rules(self.client, rule_groups, self.timezone, prune=self.prune)
            self.changes += rules.changes
            self.left += rules.left
            self.problems += rules.problems
        # Data sources last: all others read from them.
        wanted = {one["uid"] for one in (*boards, *sources)}
        for found in marked:
            if found.uid not in wanted:
                self._gone_dashboard(found.uid)
        for one in listed:
            ours = one.uid.startswith(PREFIX) and _is_marked(one.json_data) and not one.read_only
            if ours and one.uid not in wanted:
                self._gone_data_source(one.uid)
        if self.problems:
            raise ConftrackError("nothing was changed, for this stands in the way:\n" + "\n".join(self.problems))
        return Plan(changes=self.changes, left=self.left)

    def _folder(self, holds_ours: bool) -> None:
        title, there = self.config.folder, self.client.folder(FOLDER)
        what = f"folder {FOLDER} {title!r}"
        if there is None:
            self.changes.append(Change(sign="+", what=what, make=lambda: self.client.create_folder(FOLDER, title)))
        elif there.title != title and holds_ours:
            rename = guarded(what, lambda: self.client.rename_folder(FOLDER, title, there.version))
            self.changes.append(
                Change(sign="~", what=what, lines=list(differences(there.title, title, "title")), make=rename)
            )
        elif there.title != title:
            self.problems.append(
                f"folder {FOLDER} is called {visible(there.title)!r} and holds nothing that conftrack made: rename it "
                f"to {title!r}, or give it another uid"
            )

    def _dashboard(self, board: Json, there: Dashboard | None) -> None:
        uid = board["uid"]
        what = f"dashboard {uid} {visible(str(board.get('title', '')))!r}"
        wanted = board | {"tags": [*board.get("tags", []), TAG]}
        if there is None:
            save = self._saving(what, wanted, there)
            self.changes.append(Change(sign="+", what=what, make=save))
            return
        if there.meta.provisioned:
            self.problems.append(f"{what} comes from a file of that Grafana's own provisioning: take it out there")
            return
        if TAG not in (there.dashboard.get("tags") or []):
            self.problems.append(
                f"{what} is there, and conftrack did not make it: delete it, or put the tag {TAG} on it to hand it over"
            )
            return
        has = {key: value for key, value in there.dashboard.items() if key not in ("id", "version")}
        lines = [
            *differences(there.meta.folder_uid or None, FOLDER, "folder"),
            *differences(_tags_sorted(has), _tags_sorted(wanted)),
        ]
        if lines:
            lines.insert(0, self._saved(there.meta))
            save = self._saving(what, wanted, there)
            self.changes.append(Change(sign="~", what=what, lines=lines, make=save))

    def _saving(self, what: str, wanted: Json, there: Dashboard | None) -> Callable[[], None]:
        uid = wanted["uid"]
        own = {"id": there.dashboard.get("id"), "version": there.meta.version} if there else {"id": None}
        request = {
            "dashboard": wanted | own,
            "folderUid": FOLDER,
            "message": f"conftrack {__version__}: grafana sync",
            "overwrite": False,
        }

        def save() -> None:
            try:
                self.client.save_dashboard(uid, request)
            except GrafanaError as error:
                if error.status != HTTPStatus.PRECONDITION_FAILED:
                    raise
                now = self.client.dashboard(uid)
                if (now and now.meta.version) == (there and there.meta.version):
                    raise  # for another reason
                raise changed_meanwhile(what, self._saved(now.meta) if now else "it is gone", error) from error

        return save

    def _gone_dashboard(self, uid: str) -> None:
        there = self.client.dashboard(uid)
        if there is None or TAG not in (there.dashboard.get("tags") or []) or there.meta.provisioned:
            return
        what = f"dashboard {uid} {visible(str(there.dashboard.get('title', '')))!r}"
        if not self.prune:
            self.left.append(what)
            return

        def delete() -> None:
            now = self.client.dashboard(uid)  # a deletion cannot be made to depend on the version
            if now is not None and now.meta.version != there.meta.version:
                raise changed_meanwhile(what, self._saved(now.meta))
            if now is not None:
                self.client.delete_dashboard(uid)

        self.changes.append(Change(sign="-", what=what, lines=[self._saved(there.meta)], make=delete))

    def _saved(self, meta: Meta) -> str:
        by = visible(meta.updated_by) or "somebody"
        return f"last saved by {by} on {local(meta.updated, self.timezone)}, version {meta.version}"

    def _data_source(self, source: Json, there: DataSource | None) -> None:
        uid, what = source["uid"], f"data source {source['uid']} {source['name']!r}"
        wanted: Json = {key: source.get(key, "") for key in ("name", "type", "access", "url", "user")}
        mark, request = {"version": __version__}, wanted | {"uid": uid}
        if password := self._password(uid):
            mark["fingerprint"] = _fingerprint(self.config, password)
            request["secureJsonData"] = {"password": password}
        if there is None:
            # Which data source is the default is not conftrack's to say.
            request |= {"isDefault": False, "jsonData": source["jsonData"] | {KEY: mark}}
            lines = [f"{key}: {wanted[key]}" for key in ("type", "url", "user") if wanted[key]]
            create = guarded(what, lambda: self.client.create_data_source(uid, request))
            self.changes.append(Change(sign="+", what=what, lines=lines, make=create))
        elif there.read_only:
            self.problems.append(f"{what} comes from a file of that Grafana's own provisioning: take it out there")
        elif not _is_marked(there.json_data):
            self.problems.append(f"{what} is there, and conftrack did not make it: delete it, or give it another uid")
        else:
            has = there.json_data or {}
            lines = list(differences({key: getattr(there, key) for key in wanted}, wanted))
            lines += differences({key: has.get(key) for key in source["jsonData"]}, source["jsonData"], "jsonData")
            known = has[KEY].get("fingerprint") == mark.get("fingerprint")
            if password and not (known and there.secure_json_fields.get("password")):
                lines.append("password: is not known to be the configured one")
            request |= {
                "isDefault": there.is_default,
                "basicAuth": there.basic_auth,
                "basicAuthUser": there.basic_auth_user,
                "withCredentials": there.with_credentials,
                "jsonData": has | source["jsonData"] | {KEY: mark},
                "version": there.version,
            }
            if lines:
                update = guarded(what, lambda: self.client.update_data_source(uid, request))
                self.changes.append(Change(sign="~", what=what, lines=lines, make=update))

    def _password(self, uid: str) -> str | None:
        return self.config.postgres_password.reveal() if self.config.postgres_password and uid == POSTGRES else None

    def _gone_data_source(self, uid: str) -> None:
        there = self.client.data_source(uid)
        if there is None:
            return
        what = f"data source {uid} {visible(there.name)!r}"
        if not self.prune:
            self.left.append(what)
            return

        def delete() -> None:
            now = self.client.data_source(uid)
            if now is not None and now.version != there.version:
                raise changed_meanwhile(what, "Grafana does not say by whom")
            if now is not None:
                self.client.delete_data_source(uid)

        self.changes.append(Change(sign="-", what=what, make=delete))


def _tags_sorted(board: Json) -> Json:
    """Grafana gives tags in an order of its own."""
    return board | {"tags": sorted(set(board.get("tags") or []))}


def _is_marked(json_data: Json | None) -> bool:
    return isinstance((json_data or {}).get(KEY), dict)


def _fingerprint(config: GrafanaConfig, secret: str) -> str:
    """Of a secret that Grafana does not give back, to see that it was changed in the configuration.

    Everybody who may look at dashboards can read it, so it must not help to guess: the token, which nobody can guess,
    is the key. Another token makes another fingerprint, and the secret is set again.
    """
    assert config.token is not None  # noqa: S101  (the client was made of it)
    return hmac.new(config.token.reveal().encode(), secret.encode(), hashlib.sha256).hexdigest()[:32]
