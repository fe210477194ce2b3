"""A real Janus WebRTC server on loopback, started, driven and stopped by tests.

`JanusServer` owns the process and its throw-away configuration; `Client` is one signalling client in it (no media:
joining, leaving and dying need none). Nothing listens on anything but 127.0.0.1.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import tempfile
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import pytest

PLUGIN = "janus.plugin.videoroom"
_STARTED_WITHIN = 15.0
_ID_TAKEN = 436
_KEPT = ("libjanus_http.so", "libjanus_videoroom.so", "libjanus_sampleevh.so")


def require_janus() -> str:
    """The path of the janus binary. Without it the test is skipped, or fails where CI=true says it must run."""
    if binary := shutil.which("janus"):
        return binary
    reason = "needs a real Janus: apt-get install --no-install-recommends janus"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


class JanusError(AssertionError):
    """Janus refused what a test asked of it; `code` is its own, where it says one."""

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class JanusServer:
    """`async with JanusServer() as janus:` is a Janus with an empty VideoRoom plugin.

    With `push_url` its event handler posts every event there, with HTTP Basic. A restarted server keeps its
    addresses and loses its rooms, as a real one does.
    """

    admin_secret = "s3cret-of-the-admin"
    push_username = "janus"
    push_password = "s3cret-of-the-events"

    def __init__(
        self,
        *,
        push_url: str | None = None,
        session_timeout: int = 60,
        string_ids: bool = False,
        admin_key: str | None = None,
    ) -> None:
        self._binary = require_janus()
        self._push_url = push_url
        self._session_timeout = session_timeout
        self._string_ids = string_ids
        self._admin_key = admin_key
        self._process: asyncio.subprocess.Process | None = None
        self._transactions = count()
        self.api_url = self.admin_url = ""

    async def __aenter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="janus-"))
        self.http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=40))
        try:
            await self.start()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.kill()
        await self.http.close()
        shutil.rmtree(self._folder)

    async def start(self) -> None:
        """Starts the process and returns once it answers."""
        if not self.api_url:
            api, admin = _free_ports(2)
            self.api_url, self.admin_url = f"http://127.0.0.1:{api}/janus", f"http://127.0.0.1:{admin}/admin"
            self._configure(api, admin)
        log = self._folder / "log"
        with log.open("wb") as output:
            self._process = await asyncio.create_subprocess_exec(
                self._binary, "--disable-colors", f"--configs-folder={self._folder}",
                stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip
        async with asyncio.timeout(_STARTED_WITHIN):
            while not await self._answers():
                if self._process.returncode is not None:
                    raise JanusError(f"janus did not start: {log.read_text(errors='replace')[-2000:]}")
                await asyncio.sleep(0.02)

    async def _answers(self) -> bool:
        try:
            async with self.http.get(f"{self.admin_url}/ping") as reply:
                return reply.status == 200
        except aiohttp.ClientError:
            return False

    async def stop(self) -> None:
        """An orderly shutdown."""
        if self._process and self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()

    async def kill(self) -> None:
        """A crash."""
        if self._process and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    def _configure(self, api_port: int, admin_port: int) -> None:
        library = next(Path("/usr/lib").glob("*/janus/plugins"), Path("/usr/lib/janus/plugins")).parent
        unwanted = {
            kind: ",".join(sorted(so.name for so in (library / kind).glob("*.so") if so.name not in _KEPT))
            for kind in ("plugins", "transports", "events", "loggers")
        }
        events = f"""
            broadcast = {"true" if self._push_url else "false"}
            disable = "{unwanted["events"]}"
        """
        self._write("janus", general=f"""
            configs_folder = "{self._folder}"
            plugins_folder = "{library}/plugins"
            transports_folder = "{library}/transports"
            events_folder = "{library}/events"
            loggers_folder = "{library}/loggers"
            interface = "127.0.0.1"
            server_name = "janus-test"
            admin_secret = "{self.admin_secret}"
            session_timeout = {self._session_timeout}
            debug_level = 3
        """, nat="ice_lite = true", events=events, plugins=f'disable = "{unwanted["plugins"]}"',
            transports=f'disable = "{unwanted["transports"]}"', loggers=f'disable = "{unwanted["loggers"]}"',
        )  # fmt: skip
        self._write("janus.transport.http", general=f"""
            json = "compact"
            base_path = "/janus"
            http = true
            https = false
            port = {api_port}
            ip = "127.0.0.1"
        """, admin=f"""
            admin_base_path = "/admin"
            admin_http = true
            admin_https = false
            admin_port = {admin_port}
            admin_ip = "127.0.0.1"
        """)  # fmt: skip
        self._write("janus.plugin.videoroom", general=f"""
            string_ids = {"true" if self._string_ids else "false"}
            {f'admin_key = "{self._admin_key}"' if self._admin_key else ""}
        """)  # fmt: skip
        self._write("janus.eventhandler.sampleevh", general=f"""
            enabled = {"true" if self._push_url else "false"}
            events = "all"
            grouping = true
            json = "compact"
            backend = "{self._push_url or ""}"
            backend_user = "{self.push_username}"
            backend_pwd = "{self.push_password}"
        """)  # fmt: skip

    def _write(self, name: str, **sections: str) -> None:
        text = "\n".join(f"{section}: {{\n{body}\n}}" for section, body in sections.items())
        (self._folder / f"{name}.jcfg").write_text(text)

    async def ask(self, url: str, **body: Any) -> dict[str, Any]:
        """One request of either API; JanusError when Janus says no."""
        async with self.http.post(url, json={"transaction": f"t{next(self._transactions)}", **body}) as reply:
            answer: dict[str, Any] = await reply.json()
        data = answer.get("plugindata", {}).get("data") or answer.get("response") or {}
        if answer["janus"] == "error" or "error_code" in data:
            raise JanusError(str(answer))
        return answer

    async def admin(self, path: str = "", **body: Any) -> dict[str, Any]:
        return await self.ask(f"{self.admin_url}{path}", admin_secret=self.admin_secret, **body)

    async def videoroom(self, request: str, **arguments: Any) -> dict[str, Any]:
        """A request that the VideoRoom plugin answers at once: create, destroy, edit, kick, list…"""
        if self._admin_key:
            arguments["admin_key"] = self._admin_key
        answer = await self.admin(janus="message_plugin", plugin=PLUGIN, request={"request": request, **arguments})
        response: dict[str, Any] = answer["response"]
        return response

    async def create_room(self, room: int | str, **options: Any) -> None:
        await self.videoroom("create", room=room, publishers=1000, **options)

    async def destroy_room(self, room: int | str) -> None:
        await self.videoroom("destroy", room=room)

    async def kick(self, room: int | str, participant: int | str) -> None:
        await self.videoroom("kick", room=room, id=participant)

    async def participants(self, room: int | str) -> list[int | str]:
        """The ids of those who are in the room."""
        answer = await self.videoroom("listparticipants", room=room)
        return [participant["id"] for participant in answer["participants"]]

    async def client(self, opaque_id: str | None = None) -> Client:
        """A client with a session of its own and one handle in the VideoRoom plugin."""
        session = (await self.ask(self.api_url, janus="create"))["data"]["id"]
        named = {"opaque_id": opaque_id} if opaque_id else {}
        url = f"{self.api_url}/{session}"
        handle = (await self.ask(url, janus="attach", plugin=PLUGIN, **named))["data"]["id"]
        return Client(self, session, handle)


class Client:
    """One signalling client. It sends no keep-alives: it lives for the server's `session_timeout`."""

    def __init__(self, server: JanusServer, session: int, handle: int) -> None:
        self._server = server
        self.session = session
        self.handle = handle

    async def _message(self, **body: Any) -> None:
        url = f"{self._server.api_url}/{self.session}/{self.handle}"
        await self._server.ask(url, janus="message", body=body)

    async def _event(self, **wanted: str) -> dict[str, Any]:
        """The plugin's next event that has these words, dropping those before it."""
        while True:
            async with self._server.http.get(f"{self._server.api_url}/{self.session}") as reply:
                answer: dict[str, Any] = await reply.json()
            data: dict[str, Any] = answer.get("plugindata", {}).get("data", {})
            if "error_code" in data:
                raise JanusError(str(data), data["error_code"])
            if all(data.get(key) == value for key, value in wanted.items()) and data:
                return data

    async def join(self, room: int | str, display: str | None = None, *, id: int | str | None = None) -> Any:
        """Joins as a publisher that does not publish yet; gives its participant id, chosen or Janus's own."""
        chosen = {"display": display, "id": id}
        body = {key: value for key, value in chosen.items() if value is not None}
        async with asyncio.timeout(10):
            while True:
                await self._message(request="join", ptype="publisher", room=room, **body)
                try:
                    return (await self._event(videoroom="joined"))["id"]
                except JanusError as error:
                    if error.code != _ID_TAKEN:  # a session that was destroyed just now still has it for a moment
                        raise
                await asyncio.sleep(0.02)

    async def leave(self) -> None:
        """Leaves the room; the handle stays, and can join no other."""
        await self._message(request="leave")
        await self._event(videoroom="event", leaving="ok")

    async def detach(self) -> None:
        """Gives up the handle, and with it the room, as closing the conference in a web page does."""
        await self._server.ask(f"{self._server.api_url}/{self.session}/{self.handle}", janus="detach")

    async def hang_up(self) -> None:
        """Destroys the whole session, as closing the web page does."""
        await self._server.ask(f"{self._server.api_url}/{self.session}", janus="destroy")

    async def die(self) -> None:
        """Never heard of again: Janus times the session out in one to three seconds."""
        await self._server.admin(f"/{self.session}", janus="set_session_timeout", timeout=1)


def _free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
