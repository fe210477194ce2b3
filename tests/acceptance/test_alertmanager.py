"""The shipped configuration of Alertmanager: who is told, in which message, and what is told to nobody."""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.alerting import RULES, SHIPPED, Webhook, adapted_alertmanager, alertmanager, program, ready
from tests.mail_server import MailServer

CONFIG = SHIPPED / "alertmanager.yml"
Labels = dict[str, str]


def site(alert: str, endpoint: str = "PT-01", **labels: str) -> Labels:
    """An alert of an endpoint."""
    of = {"org": "PT-XA", "source": "pexip", "meeting": "7", "carrier": "VNPT", "area": "Việt Trì"}
    return {"alertname": f"Conftrack{alert}", "severity": "warning", "endpoint": endpoint, **of, **labels}


def about(alert: str, **labels: str) -> Labels:
    return {"alertname": f"Conftrack{alert}", "severity": "critical", **labels}


LIVE = {"source": "pexip", "stream": "live"}
OUTAGE = {"source": "pexip", "meeting": "7"}


def test_alertmanager_accepts_its_configuration(tmp_path: Path) -> None:
    """Judged by its own tool. One older than 0.26 lacks the one key that a comment in the file names."""
    amtool = program("amtool")
    said = subprocess.run([amtool, "--version"], capture_output=True, text=True, check=True)
    version = re.search(r"version (\d+)\.(\d+)", said.stdout + said.stderr)
    text = CONFIG.read_text(encoding="utf-8")
    if version and (int(version[1]), int(version[2])) < (0, 26):
        text = text.replace("bot_token_file: ", "bot_token: ")
    file = tmp_path / "alertmanager.yml"
    file.write_text(text, encoding="utf-8")
    checked = subprocess.run([amtool, "check-config", file], capture_output=True, text=True)

    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_no_secret_stands_in_the_configuration() -> None:
    """Passwords and tokens are read from files."""
    keys = re.findall(r"(\w*(?:password|token|credentials|secret)\w*):", CONFIG.read_text(encoding="utf-8"))

    assert len(keys) >= 3
    assert [key for key in keys if not key.endswith("_file")] == []


def test_critical_reaches_a_person_in_three_ways() -> None:
    """One way may be broken: mail, Telegram and a webhook; a warning goes to the desk, by mail and webhook."""
    receivers = {one["name"]: set(one) - {"name"} for one in yaml.safe_load(CONFIG.read_text())["receivers"]}

    assert receivers["on call"] == {"webhook_configs", "email_configs", "telegram_configs"}
    assert receivers["duty desk"] == {"webhook_configs", "email_configs"}
    assert receivers["nobody"] == set()


def test_every_inhibition_names_alerts_that_exist() -> None:
    """An alert that is renamed does not leave a rule behind that silences nothing."""
    names = set(re.findall(r"alert: (\w+)", RULES.read_text(encoding="utf-8")))
    for one in yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["inhibit_rules"]:
        for matcher in (one["source_matchers"][0], one["target_matchers"][0]):
            name, how, value = re.fullmatch(r'(\w+) (=~?) "?([^"]+)"?', matcher).groups()  # type: ignore[union-attr]
            assert name == "alertname"
            assert [n for n in names if (n == value if how == "=" else re.fullmatch(value, n))], matcher


class Alerting:
    """An Alertmanager and where it sends to."""

    def __init__(self, client: aiohttp.ClientSession, address: str, webhook: Webhook) -> None:
        self._client, self._address, self.webhook = client, address, webhook

    async def post(self, *alerts: Labels, ended: bool = False) -> None:
        now = datetime.now(UTC)  # noqa: TID251 - Alertmanager has the real clock
        until = {"endsAt": (now - timedelta(seconds=1)).isoformat()} if ended else {}
        # An old alert would be sent at once, without the wait for what silences it.
        begun = now - timedelta(minutes=1) if ended else now
        told = [{"labels": labels, "startsAt": begun.isoformat(), **until, "annotations": {}} for labels in alerts]
        async with self._client.post(f"http://{self._address}/api/v2/alerts", json=told) as answer:
            assert answer.status == 200, await answer.text()


@asynccontextmanager
async def alerting(folder: Path) -> AsyncIterator[Alerting]:
    async with Webhook.served() as webhook, aiohttp.ClientSession() as client:
        with alertmanager(folder, adapted_alertmanager(webhook.url)) as address:
            await ready(client, address)
            yield Alerting(client, address, webhook)


async def test_a_message_is_of_one_unit_in_one_meeting_and_reaches_who_it_is_for(tmp_path: Path) -> None:
    """Three sites of one unit are one message; another unit, a critical one and the watchdog go their own ways."""
    async with alerting(tmp_path) as to:
        await to.post(
            site("EndpointDropped"), site("EndpointDropped", "PT-02"), site("EndpointPoorQuality", "PT-03"),
            site("EndpointDropped", "PT-04", org="PT-PHUONG"), about("SourceDown", source="janus", stream="live"),
            about("Watchdog", severity="info"), about("CausesUnknown", severity="info", source="pexip"),
        )  # fmt: skip
        await to.webhook.until(lambda message: message.receiver == "on-call", 20)
        await asyncio.sleep(2)
        told = sorted((message.receiver, message.firing()) for message in to.webhook.messages)

    # "nobody" is a webhook only here: in the shipped file it has no way to send.
    assert told == [
        ("duty-desk", ["ConftrackEndpointDropped"]),
        ("duty-desk", ["ConftrackEndpointDropped", "ConftrackEndpointDropped", "ConftrackEndpointPoorQuality"]),
        ("nobody", ["ConftrackCausesUnknown"]),
        ("on-call", ["ConftrackSourceDown"]),
        ("watchdog", ["ConftrackWatchdog"]),
    ]


@pytest.mark.parametrize(
    ("reason", "silenced", "told"),
    [
        (about("SourceDown", **LIVE), site("EndpointDropped"), site("EndpointDropped", source="janus")),
        (
            about("SourceStale", **LIVE),
            site("IncidentIgnored", severity="critical"),
            about("SourceStale", source="pexip", stream="participant"),
        ),
        (
            about("Outage", scope="org", org="PT-XA", **OUTAGE),
            site("EndpointDropped"),
            site("EndpointDropped", org="B"),
        ),
        (
            about("Outage", scope="carrier", carrier="VNPT", **OUTAGE),
            site("EndpointAbsent"),
            site("EndpointAbsent", carrier="Viettel"),
        ),
        (
            about("Outage", scope="area", area="Việt Trì", **OUTAGE),
            site("EndpointFlapping"),
            site("EndpointFlapping", meeting="8"),
        ),
        (site("EndpointConnectFailed"), site("EndpointAbsent", meeting=""), site("EndpointAbsent", "PT-02")),
        (about("Down"), about("SourceDown", **LIVE), about("Watchdog", severity="info")),
    ],
)
async def test_a_consequence_is_told_to_nobody(tmp_path: Path, reason: Labels, silenced: Labels, told: Labels) -> None:
    """What a blind source, an outage or a failing call explains is not told; what it does not explain is."""
    async with alerting(tmp_path) as to:
        await to.post(reason, silenced, told)
        await to.webhook.until(lambda message: told in [alert["labels"] for alert in message.alerts], 20)
        await to.webhook.until(lambda message: reason in [alert["labels"] for alert in message.alerts], 20)
        await asyncio.sleep(2)
        came = [alert["labels"] for message in to.webhook.messages for alert in message.alerts]

    assert {name: value for name, value in silenced.items() if value} not in came


async def test_nobody_is_told_that_a_silenced_alert_is_over(tmp_path: Path) -> None:
    """An endpoint that was told before its source went blind is not called recovered while nobody can know."""
    async with alerting(tmp_path) as to:
        await to.post(site("EndpointDropped"))
        await to.webhook.until(lambda message: message.firing() == ["ConftrackEndpointDropped"], 20)
        await to.post(about("SourceDown", **LIVE))
        await to.webhook.until(lambda message: message.firing() == ["ConftrackSourceDown"], 20)
        await to.post(site("EndpointDropped"), ended=True)
        await asyncio.sleep(12)

        assert [message.status for message in to.webhook.messages] == ["firing", "firing"]


async def test_a_person_reads_what_happened_when_why_and_where_to_look(tmp_path: Path) -> None:
    """The same by mail and by Telegram, at the time that it is here; and that it is over."""
    said = {
        "summary": "Sự cố của Hội trường (PT-01) đã 30 phút chưa ai nhận", "description": "Sự cố vẫn đang diễn ra.",
        "runbook_url": "https://wiki.example/runbooks#x", "page_url": "https://c.example/incidents",
    }  # fmt: skip
    chat: asyncio.Queue[str] = asyncio.Queue()

    async def send_message(request: web.Request) -> web.Response:
        chat.put_nowait((await request.json())["text"])
        return web.json_response({"ok": True, "result": {"message_id": 1, "date": 1, "chat": {"id": -1001}}})

    app = web.Application()
    app.router.add_post("/bot{token}/sendMessage", send_message)
    config = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    async with MailServer() as mails, TestServer(app, host="127.0.0.1") as telegram, aiohttp.ClientSession() as client:
        sender = config["global"]["smtp_from"]
        smarthost = f"127.0.0.1:{mails.port}"
        config["global"] = {"smtp_smarthost": smarthost, "smtp_from": sender, "smtp_require_tls": False}
        for receiver in config["receivers"]:
            receiver.pop("webhook_configs", None)
            for told in receiver.get("telegram_configs", ()):
                del told["bot_token_file"]
                told |= {"bot_token": "1:x", "api_url": f"http://127.0.0.1:{telegram.port}"}
        with alertmanager(tmp_path, config) as address:
            await ready(client, address)
            begun = datetime.now(UTC)  # noqa: TID251 - Alertmanager has the real clock
            alert = {"labels": about("IncidentIgnored"), "annotations": said, "startsAt": begun.isoformat()}
            texts = []
            for ends in ({}, {"endsAt": (begun + timedelta(seconds=1)).isoformat()}):
                async with client.post(f"http://{address}/api/v2/alerts", json=[alert | ends]) as answer:
                    assert answer.status == 200, await answer.text()
                texts.append((await asyncio.wait_for(chat.get(), 30)).strip())
            for _ in range(300):
                await asyncio.sleep(0.1 if len(mails.delivered) < 2 else 0)
    local = (begun + timedelta(hours=7)).strftime("%H:%M %d/%m")
    where = f"Xem và gọi ai: {said['page_url']}"

    assert [text.split("\n") for text in texts] == [
        [said["summary"], f"Báo lúc {local}. {said['description']}", f"Sổ tay: {said['runbook_url']}", where],
        [f"Đã hết: {said['summary']}", where],
    ]
    bodies = [mail.message.get_body(("plain",)) for mail in mails.delivered]
    assert ["\n".join(body.get_content().split("\r\n")).strip() for body in bodies if body is not None] == texts
    assert [mail.message["Subject"] for mail in mails.delivered] == [said["summary"], f"Đã hết: {said['summary']}"]
