"""A strict Grafana 11 over real HTTP, written from its API documentation: folders, data sources, dashboards, search.

What the documentation does not name is refused and kept in `unknown`: paths, query parameters, fields of a request. The
role of a token decides what it may do. Tests drive it as people who have it open in a browser would (`edit`), and break
it (`break_`, `before`).
"""

from __future__ import annotations

import asyncio
import copy
import json
import re
import ssl
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

from aiohttp import web

Json = dict[str, Any]
Route = tuple[str, str, Callable[[web.Request], Awaitable[web.StreamResponse]]]

#: What each role may do beyond reading.
_MAY = {
    "Viewer": set[str](),
    "Editor": {"folders", "dashboards"},
    "Admin": {"folders", "dashboards", "datasources", "v1"},
    # As access control can make one: alert rules it may not even see.
    "AdminWithoutAlerting": {"folders", "dashboards", "datasources"},
}

_DATA_SOURCE_FIELDS = {
    "id", "uid", "orgId", "name", "type", "access", "url", "user", "database", "basicAuth", "basicAuthUser",
    "withCredentials", "isDefault", "jsonData", "secureJsonData", "version",
}  # fmt: skip


class Refusal(Exception):
    def __init__(self, code: int, message: str, **more: str) -> None:
        super().__init__(message)
        self.code, self.body = code, {"message": message, **more}


class FakeGrafana:
    """`async with FakeGrafana() as grafana:` is one at `grafana.url` under the path /grafana."""

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        self.tokens = {
            "glsa_admin": "Admin", "glsa_editor": "Editor", "glsa_viewer": "Viewer",
            "glsa_no_alerting": "AdminWithoutAlerting",
        }  # fmt: skip
        self.folders: dict[str, Json] = {}
        #: By uid: {"dashboard", "meta"}.
        self.dashboards: dict[str, Json] = {}
        #: By uid, with `secureJsonData`, which no answer has.
        self.sources: dict[str, Json] = {}
        #: Method and path of every request that changed something.
        self.writes: list[str] = []
        self.messages: list[str] = []
        self.unknown: list[str] = []
        #: Data sources that Grafana cannot read from.
        self.unhealthy: dict[str, str] = {}
        self._broken: list[tuple[re.Pattern[str], web.Response]] = []
        self._before: list[tuple[re.Pattern[str], Callable[[], object]]] = []
        self._failing: tuple[int, bool] | None = None
        self._tls = tls
        self._ids = iter(range(1, 10_000))
        self.url = ""

    async def __aenter__(self) -> Self:
        app = web.Application(middlewares=[self._guard])
        for method, path, handler in self._routes():
            app.router.add_route(method, f"/grafana/api{path}", handler)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._tls)
        await site.start()
        port = self._runner.addresses[0][1]
        self.url = f"http{'s' if self._tls else ''}://127.0.0.1:{port}/grafana"
        return self

    def _routes(self) -> list[Route]:
        return [
            ("GET", "/health", self._health),
            ("GET", "/search", self._search),
            ("GET", "/folders/{uid}", self._get_folder),
            ("POST", "/folders", self._create_folder),
            ("PUT", "/folders/{uid}", self._update_folder),
            ("GET", "/datasources", self._list_sources),
            ("POST", "/datasources", self._create_source),
            ("GET", "/datasources/uid/{uid}", self._get_source),
            ("PUT", "/datasources/uid/{uid}", self._update_source),
            ("DELETE", "/datasources/uid/{uid}", self._delete_source),
            ("GET", "/datasources/uid/{uid}/health", self._test_source),
            ("GET", "/dashboards/uid/{uid}", self._get_dashboard),
            ("POST", "/dashboards/db", self._save_dashboard),
            ("DELETE", "/dashboards/uid/{uid}", self._delete_dashboard),
        ]

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()
        if kind is None:
            assert self.unknown == []

    # -- what people and faults do

    def edit(self, uid: str, by: str, at: str = "2026-11-24T16:02:00Z", **changes: Any) -> None:
        """Somebody saves a dashboard in the browser."""
        held = self.dashboards[uid]
        held["dashboard"] |= copy.deepcopy(changes)
        self._saved(held, by, at)

    def break_(self, request: str, response: web.Response) -> None:
        """The next request that matches ("POST .*/dashboards/db") is answered so."""
        self._broken.append((re.compile(request), response))

    def before(self, request: str, do: Callable[[], object]) -> None:
        """Something happens just before the next request that matches is handled."""
        self._before.append((re.compile(request), do))

    def fail(self, number: int, *, done: bool) -> None:
        """The write of this number, from 0, fails: before Grafana did anything, or after it was `done`."""
        self._failing = number, done

    def state(self) -> Json:
        return copy.deepcopy({"folders": self.folders, "dashboards": self.dashboards, "sources": self.sources})

    # -- every request

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        line = f"{request.method} {request.path.removeprefix('/grafana/api')}"
        for early in [one for one in self._before if one[0].fullmatch(line)]:
            self._before.remove(early)
            early[1]()
        for broken in [one for one in self._broken if one[0].fullmatch(line)]:
            self._broken.remove(broken)
            return broken[1]
        fails = request.method != "GET" and self._failing is not None and self._failing[0] == len(self.writes)
        try:
            if request.path != "/grafana/api/health":
                self._allow(request)
            if not fails or self._failing is None:
                return await handler(request)
            if self._failing[1]:
                await handler(request)
            self._failing = None
            raise Refusal(500, "database is locked")
        except Refusal as refusal:
            return web.json_response(refusal.body, status=refusal.code)
        except web.HTTPException as error:
            self.unknown.append(line)
            return web.json_response({"message": "Not found"}, status=error.status)

    def _allow(self, request: web.Request) -> None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        role = self.tokens.get(token) if scheme == "Bearer" else None
        if role is None:
            raise Refusal(401, "Invalid API key")
        area = request.path.split("/")[3]
        if request.method == "GET" and (area != "v1" or role != "AdminWithoutAlerting"):
            return
        if area not in _MAY[role]:
            raise Refusal(403, f"You'll need additional permissions to perform this action. Permissions needed: {area}")

    async def _body(self, request: web.Request, *fields: str, needs: tuple[str, ...] = ()) -> Json:
        if request.content_type != "application/json":
            raise Refusal(400, "bad request data")
        body = json.loads(await request.text())
        if stray := sorted(body.keys() - set(fields)):
            self.unknown.append(f"{request.method} {request.path} {stray}")
            raise Refusal(400, f"bad request data: {stray}")
        for name in needs:
            if not body.get(name):
                raise Refusal(400, "bad request data")
        self.writes.append(f"{request.method} {request.path.removeprefix('/grafana/api')}")
        held: Json = body
        return held

    async def _health(self, request: web.Request) -> web.Response:
        return web.json_response({"database": "ok", "version": "11.6.0", "commit": "abcdef"})

    # -- folders

    async def _get_folder(self, request: web.Request) -> web.Response:
        return web.json_response(self._folder(request))

    def _folder(self, request: web.Request) -> Json:
        if (uid := request.match_info["uid"]) not in self.folders:
            raise Refusal(404, "folder not found", status="not-found")
        return self.folders[uid]

    async def _create_folder(self, request: web.Request) -> web.Response:
        body = await self._body(request, "uid", "title", "parentUid", needs=("title",))
        if body["uid"] in self.folders:
            raise Refusal(412, "the folder has been changed by someone else", status="version-mismatch")
        self.folders[body["uid"]] = {
            "id": next(self._ids), "uid": body["uid"], "title": body["title"], "version": 1, "hasAcl": False,
            "url": f"/dashboards/f/{body['uid']}/x", "canSave": True, "createdBy": "sa-1-conftrack",
            "created": "2026-11-24T12:00:00Z", "updatedBy": "sa-1-conftrack", "updated": "2026-11-24T12:00:00Z",
        }  # fmt: skip
        return web.json_response(self.folders[body["uid"]])

    async def _update_folder(self, request: web.Request) -> web.Response:
        folder = self._folder(request)
        body = await self._body(request, "title", "version", "overwrite", needs=("title",))
        if not body.get("overwrite") and body.get("version") != folder["version"]:
            raise Refusal(412, "the folder has been changed by someone else", status="version-mismatch")
        folder |= {"title": body["title"], "version": folder["version"] + 1}
        return web.json_response(folder)

    # -- data sources

    def _shown(self, source: Json, *, listed: bool = False) -> Json:
        shown = {key: value for key, value in source.items() if key != "secureJsonData"}
        if listed:
            return {k: v for k, v in shown.items() if k not in ("version", "withCredentials")} | {"typeName": "x"}
        return shown | {"secureJsonFields": dict.fromkeys(source["secureJsonData"], True), "accessControl": {}}

    async def _list_sources(self, request: web.Request) -> web.Response:
        return web.json_response([self._shown(source, listed=True) for source in self.sources.values()])

    def _source(self, request: web.Request) -> Json:
        if (uid := request.match_info["uid"]) not in self.sources:
            raise Refusal(404, "Data source not found")
        return self.sources[uid]

    async def _get_source(self, request: web.Request) -> web.Response:
        return web.json_response(self._shown(self._source(request)))

    async def _create_source(self, request: web.Request) -> web.Response:
        body = await self._body(request, *_DATA_SOURCE_FIELDS - {"id", "orgId", "version"}, needs=("name", "type"))
        if any(source["name"] == body["name"] for source in self.sources.values()):
            raise Refusal(409, "data source with the same name already exists")
        if body["uid"] in self.sources:
            raise Refusal(409, "data source with the same uid already exists")
        made = self.add_source(**body)
        return web.json_response(
            {"datasource": self._shown(made), "id": made["id"], "message": "Datasource added", "name": made["name"]}
        )

    def add_source(self, **fields: Any) -> Json:
        """One that is there; also what an administrator does by hand."""
        self.sources[fields["uid"]] = {
            "id": next(self._ids), "orgId": 1, "typeLogoUrl": "", "access": "proxy", "url": "", "user": "",
            "database": "", "basicAuth": False, "basicAuthUser": "", "withCredentials": False, "isDefault": False,
            "jsonData": {}, "secureJsonData": {}, "version": 1, "readOnly": False, **copy.deepcopy(fields),
        }  # fmt: skip
        return self.sources[fields["uid"]]

    async def _update_source(self, request: web.Request) -> web.Response:
        source = self._source(request)
        body = await self._body(request, *_DATA_SOURCE_FIELDS, needs=("name", "type", "access"))
        if source["readOnly"]:
            raise Refusal(403, "Cannot update read-only data source")
        if "version" in body and body["version"] != source["version"]:
            raise Refusal(409, "Datasource has already been updated by someone else. Please reload and try again")
        # All of it is replaced, but for secrets that are not given.
        kept = {key: source[key] for key in ("id", "orgId", "typeLogoUrl", "readOnly", "uid", "database")}
        secrets = source["secureJsonData"] | body.pop("secureJsonData", {})
        made = self.add_source(**body | kept | {"secureJsonData": secrets, "version": source["version"] + 1})
        return web.json_response(
            {"datasource": self._shown(made), "id": made["id"], "message": "Datasource updated", "name": made["name"]}
        )

    async def _delete_source(self, request: web.Request) -> web.Response:
        source = self._source(request)
        if source["readOnly"]:
            raise Refusal(403, "Cannot delete read-only data source")
        self.writes.append(f"DELETE /datasources/uid/{source['uid']}")
        del self.sources[source["uid"]]
        return web.json_response({"message": "Data source deleted", "id": source["id"]})

    async def _test_source(self, request: web.Request) -> web.Response:
        source = self._source(request)
        if says := self.unhealthy.get(source["uid"]):
            return web.json_response({"status": "ERROR", "message": says}, status=400)
        return web.json_response({"status": "OK", "message": "Database Connection OK"})

    # -- dashboards

    def _dashboard(self, request: web.Request) -> Json:
        if (uid := request.match_info["uid"]) not in self.dashboards:
            raise Refusal(404, "Dashboard not found", status="not-found")
        return self.dashboards[uid]

    async def _get_dashboard(self, request: web.Request) -> web.Response:
        return web.json_response(self._dashboard(request))

    async def _save_dashboard(self, request: web.Request) -> web.Response:
        body = await self._body(
            request, "dashboard", "folderId", "folderUid", "message", "overwrite", needs=("dashboard",)
        )
        board = body["dashboard"]
        held = self.dashboards.get(board["uid"])
        if board.get("id") is not None and held is None:
            raise Refusal(404, "Dashboard not found", status="not-found")
        if body.get("folderUid") and body["folderUid"] not in self.folders:
            raise Refusal(400, "folder not found")
        if not board.get("title"):
            raise Refusal(400, "Dashboard title cannot be empty", status="empty-name")
        if held is not None:
            if held["meta"]["provisioned"]:
                raise Refusal(400, "Cannot save provisioned dashboard")
            if not body.get("overwrite") and board.get("version") != held["meta"]["version"]:
                raise Refusal(412, "The dashboard has been changed by someone else", status="version-mismatch")
            if held["dashboard"].get("__plugin") and not body.get("overwrite"):
                raise Refusal(412, "The dashboard belongs to plugin Clock.", status="plugin-dashboard")
        self.messages.append(body.get("message", ""))
        made = self.add_dashboard(board, folder=body.get("folderUid", ""), by="sa-1-conftrack")
        return web.json_response(
            {
                "id": made["dashboard"]["id"], "uid": board["uid"], "url": f"/d/{board['uid']}/x", "slug": "x",
                "status": "success", "version": made["meta"]["version"], "folderUid": body.get("folderUid", ""),
            }
        )  # fmt: skip

    def add_dashboard(self, board: Json, *, folder: str, by: str, at: str = "2026-11-24T12:00:00Z") -> Json:
        """One that is there; also what a person imports by hand."""
        held = self.dashboards.setdefault(
            board["uid"], {"meta": {"version": 0, "provisioned": False, "created": at, "createdBy": by, "slug": "x"}}
        )
        number = held.get("dashboard", {}).get("id") or next(self._ids)
        held["dashboard"] = copy.deepcopy(board) | {"id": number}
        held["meta"] |= {"folderUid": folder, "folderTitle": self.folders.get(folder, {}).get("title", "General")}
        self._saved(held, by, at)
        return held

    def _saved(self, held: Json, by: str, at: str) -> None:
        version = held["meta"]["version"] + 1
        held["meta"] |= {"version": version, "updatedBy": by, "updated": at}
        held["dashboard"]["version"] = version

    async def _delete_dashboard(self, request: web.Request) -> web.Response:
        held = self._dashboard(request)
        if held["meta"]["provisioned"]:
            raise Refusal(400, "provisioned dashboard cannot be deleted")
        self.writes.append(f"DELETE /dashboards/uid/{held['dashboard']['uid']}")
        del self.dashboards[held["dashboard"]["uid"]]
        title = held["dashboard"]["title"]
        return web.json_response(
            {"title": title, "message": f"Dashboard {title} deleted", "id": held["dashboard"]["id"]}
        )

    async def _search(self, request: web.Request) -> web.Response:
        known = {"query", "tag", "type", "dashboardIds", "dashboardUIDs", "folderUIDs", "starred", "limit", "page"}
        if stray := sorted(set(request.query) - known):
            self.unknown.append(f"GET /search {stray}")
            raise Refusal(400, f"unknown parameters {stray}")
        tags, kind = request.query.getall("tag", []), request.query.get("type")
        limit = int(request.query.get("limit", "1000"))
        if limit > 5000:
            raise Refusal(422, "limit is above maximum allowed (5000)")
        found: list[Json] = []
        if kind in (None, "dash-folder") and not tags:
            found += [
                {"uid": uid, "title": folder["title"], "type": "dash-folder", "tags": []}
                for uid, folder in self.folders.items()
            ]
        if kind in (None, "dash-db"):
            found += [
                {
                    "id": held["dashboard"]["id"], "uid": uid, "title": held["dashboard"]["title"], "type": "dash-db",
                    "tags": held["dashboard"].get("tags") or [], "isStarred": False, "url": f"/d/{uid}/x",
                    "folderUid": held["meta"]["folderUid"],
                }
                for uid, held in self.dashboards.items()
                if set(tags) <= set(held["dashboard"].get("tags") or [])
            ]  # fmt: skip
        await asyncio.sleep(0)
        return web.json_response(found[:limit])
