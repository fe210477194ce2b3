"""A simulated Cisco room device: getxml and putxml, a feedback slot that posts, and what goes wrong with them.

It behaves as Cisco documents it, where `conftrack.sources.roomos.wire` names the sources.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
from datetime import datetime, timedelta
from typing import Literal
from xml.etree.ElementTree import Element, SubElement, tostring

import aiohttp
from aiohttp import web
from defusedxml.ElementTree import fromstring

from conftrack.simulator.world import Clock

#: How late PeoplePresence may go to No.
PRESENCE_LATE = timedelta(minutes=2)
#: Posts that nobody answered, after which a slot is silent until it is registered again.
POSTS = 10
_CONTENT = "text/xml"

Trouble = Literal["none", "half", "login page", "nonsense", "broken"]


class RoomDevice:
    """One codec in one room. Set what is there; ask it over HTTP (`app`) as a collector would."""

    def __init__(self, *, clock: Clock, username: str = "reader", password: str = "", capacity: int = 12) -> None:
        self._clock = clock
        self._basic = f"{username}:{password}".encode()
        self._capacity = capacity
        self._people = 0
        self._left_at: datetime | None = None
        #: In standby it does not count: Current is -1.
        self.standby = False
        self.trouble: Trouble = "none"
        #: Slot → where it posts, and whether it still does.
        self.slots: dict[int, str] = {}
        self._silent: set[int] = set()
        #: The body of every command that was put.
        self.commands: list[bytes] = []
        #: How many posts of feedback were answered with 200.
        self.posted = 0

    @property
    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/getxml", self._getxml)
        app.router.add_post("/putxml", self._putxml)
        return app

    @property
    def current(self) -> int:
        """PeopleCount Current: -1 where it does not know."""
        return -1 if self.standby else self._people

    async def see(self, people: int, *, standby: bool = False) -> None:
        """The people in front of the camera are so many from now on; it is told where feedback is registered."""
        before = self.current
        if people == 0 and self._people:
            self._left_at = self._clock()
        self._people, self.standby = people, standby
        if self.current != before:
            await self._tell()

    def reboot(self) -> None:
        """It comes back as it was, but its feedback slots are silent, though it still lists them."""
        self._silent |= self.slots.keys()

    # -- asked

    async def _getxml(self, request: web.Request) -> web.Response:
        self._authorise(request)
        if self.trouble == "broken":
            raise web.HTTPServiceUnavailable
        if self.trouble == "login page":
            return web.Response(text="<!DOCTYPE html><html><body>Sign in</body></html>", content_type="text/html")
        parts = [self._analytics(), *(self._slot(number, url) for number, url in self.slots.items())]
        status = Element("Status", product="Cisco Codec", version="ce11.19", apiVersion="4")
        wanted = request.query.get("location", "").strip("/").split("/")[1:2]
        status.extend([part for part in parts if [part.tag] == wanted])
        body = tostring(status if len(status) else Element("EmptyResult"))
        return web.Response(body=body[: len(body) // 2] if self.trouble == "half" else body, content_type=_CONTENT)

    def _analytics(self) -> Element:
        analytics = Element("RoomAnalytics")
        count = SubElement(analytics, "PeopleCount")
        SubElement(count, "Capacity").text = str(self._capacity)
        SubElement(count, "Current").text = "many" if self.trouble == "nonsense" else str(self.current)
        lately = self._left_at is not None and self._clock() - self._left_at < PRESENCE_LATE
        presence = "Unknown" if self.standby else "Yes" if self._people or lately else "No"
        SubElement(analytics, "PeoplePresence").text = presence
        SubElement(analytics, "RoomInUse").text = "True"
        return analytics

    @staticmethod
    def _slot(number: int, url: str) -> Element:
        slot = Element("HttpFeedback", item=str(number))
        SubElement(slot, "Expression", item="1").text = "/Status/RoomAnalytics/PeopleCount"
        SubElement(slot, "Format").text = "XML"
        SubElement(slot, "URL").text = url
        return slot

    async def _putxml(self, request: web.Request) -> web.Response:
        self._authorise(request)
        body = await request.read()
        self.commands.append(body)
        said = fromstring(body).find("HttpFeedback/Register")
        answer = Element("Command")
        if said is None:
            SubElement(answer, "Result", status="Error")
        else:
            slot = int(said.findtext("FeedbackSlot") or 0)
            self.slots[slot] = said.findtext("ServerUrl") or ""
            self._silent.discard(slot)
            SubElement(answer, "HttpFeedbackRegisterResult", status="OK")
        return web.Response(body=tostring(answer), content_type=_CONTENT)

    def _authorise(self, request: web.Request) -> None:
        kind, _, proof = request.headers.get("Authorization", "").partition(" ")
        try:
            right = kind == "Basic" and hmac.compare_digest(base64.b64decode(proof), self._basic)
        except ValueError:
            right = False
        if not right:
            raise web.HTTPUnauthorized(headers={"WWW-Authenticate": 'Basic realm="TANDBERG"'})

    # -- telling

    async def _tell(self) -> None:
        status = Element("Status")
        identification = SubElement(status, "Identification")
        for name, value in (("SystemName", "Phong hop"), ("MACAddress", "00:50:60:00:00:01"), ("SerialNumber", "FOC1")):
            SubElement(identification, name).text = value
        count = SubElement(SubElement(status, "RoomAnalytics", item="1"), "PeopleCount", item="1")
        SubElement(count, "Current", item="1").text = str(self.current)
        for slot in self.slots.keys() - self._silent:
            if not await self._post(self.slots[slot], tostring(status)):
                self._silent.add(slot)

    async def _post(self, url: str, body: bytes) -> bool:
        async with aiohttp.ClientSession() as session:
            for _ in range(POSTS):
                try:
                    async with session.post(url, data=body, headers={"Content-Type": _CONTENT}) as answer:
                        self.posted += answer.status == 200
                        return True
                except aiohttp.ClientError:
                    await asyncio.sleep(0)  # a second, on a real device
        return False
