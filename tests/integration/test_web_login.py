"""Who may see the pages and who may act: signing in, and everything that must not work."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from threading import Event
from urllib.parse import urlsplit

import aiohttp
import pytest
from argon2 import PasswordHasher

from conftrack.config import Config, WebConfig, WebUser
from conftrack.serving import serve
from conftrack.storage.database import Database
from conftrack.storage.sessions import IDLE, LASTS
from conftrack.web.access import way_on
from conftrack.web.passwords import TRIES
from tests.province import NOW, PASSWORD, USERS, Province, a_morning, some_incidents, user

FAR = WebConfig(host="10.0.0.1", users=USERS)
"""Others than this machine reach the pages."""


@pytest.fixture
async def province(database: Database) -> Province:
    return await a_morning(database)


@asynccontextmanager
async def visiting(url: str, **headers: str) -> AsyncIterator[aiohttp.ClientSession]:
    """A browser without a screen."""
    jar = aiohttp.CookieJar(unsafe=True)  # cookies of 127.0.0.1 as well
    async with aiohttp.ClientSession(url, cookie_jar=jar, headers={"Accept-Language": "en"} | headers) as client:
        yield client


async def sign_in(
    client: aiohttp.ClientSession, name: str = "lan", password: str = PASSWORD, way_on: str = "/"
) -> tuple[int, str]:
    """The status, and where it leads or what it says."""
    async with client.get("/login", params={"next": way_on}) as page:
        fields = {"token": token_in(await page.text()), "next": way_on, "name": name, "password": password}
    async with client.post("/login", data=fields, allow_redirects=False) as answer:
        return answer.status, answer.headers.get("Location") or await answer.text()


def token_in(html: str) -> str:
    found = re.search(r'name="token" value="([^"]*)"', html)
    assert found is not None
    return found[1]


async def token_of(client: aiohttp.ClientSession) -> str:
    async with client.get("/incidents") as page:
        return token_in(await page.text())


async def status(client: aiohttp.ClientSession, path: str) -> int:
    async with client.get(path, allow_redirects=False) as answer:
        return answer.status


# -- who reads


async def test_far_away_everything_but_what_programs_ask_is_behind_the_login(province: Province) -> None:
    """Pages lead to the login and back to themselves; metrics and checks answer as ever; posts are refused."""
    async with province.served(FAR) as url, visiting(url) as client:
        for path in (
            "/",
            "/endpoints?q=tan",
            "/endpoints/PT-01",
            "/meetings/1",
            "/incidents",
            "/absent",
            "/events",
            "/x",
        ):
            async with client.get(path, allow_redirects=False) as answer:
                assert answer.status == 303
                assert answer.headers["Location"].startswith("/login?next=/")
        for path in ("/metrics", "/healthz", "/readyz", "/login"):
            assert await status(client, path) == 200
        async with client.post("/incidents/1/acknowledge", data={}) as refused:
            assert refused.status == 403

        assert await sign_in(client, way_on="/endpoints?q=tan") == (303, "/endpoints?q=tan")
        assert await status(client, "/endpoints?q=tan") == 200


async def test_without_users_the_pages_say_how_to_add_one(province: Province) -> None:
    """403 with the command to run, and never the page; /metrics works."""
    async with province.served(WebConfig(host="0.0.0.0")) as url, visiting(url) as client:  # noqa: S104
        for path in ("/", "/absent"):
            async with client.get(path) as refused:
                assert refused.status == 403
                text = await refused.text()
                assert "conftrack user hash" in text
                assert "0912" not in text
        assert await status(client, "/metrics") == 200


async def test_the_service_says_that_its_pages_need_users(
    database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A service that others reach and that has no users says so once, in the log, and starts all the same."""
    started = asyncio.Event()

    async def tell(url: str) -> None:
        async with aiohttp.ClientSession(url) as client:
            assert await status(client, "/metrics") == 200
        started.set()

    config = Config(data_dir=tmp_path, web=WebConfig(port=0, https=True))
    task = asyncio.create_task(serve(config, database, {}, clock=lambda: datetime.now(UTC), started=tell))  # noqa: TID251
    await asyncio.wait_for(started.wait(), 10)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task

    assert caplog.text.count("conftrack user hash") == 1


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, 200),
        ({"Host": "localhost:8080"}, 200),
        ({"Host": "rebound.example"}, 303),
        ({"Host": "127.0.0.1.example"}, 303),
        ({"X-Forwarded-For": "10.1.2.3"}, 303),
        ({"Forwarded": "for=10.1.2.3"}, 303),
    ],
)
async def test_this_machine_alone_reads_without_signing_in(
    province: Province, headers: dict[str, str], expected: int
) -> None:
    """What a proxy passes on, or a foreign name that leads here, is not this machine."""
    async with province.served() as url, visiting(url, **headers) as client:
        assert await status(client, "/absent") == expected


# -- signing in


async def test_a_session_is_known_by_a_digest_and_its_cookie_is_guarded(province: Province) -> None:
    """The cookie is not in the database; scripts and other sites do not get it; behind https it goes by https alone."""
    async with (
        province.served(WebConfig(users=USERS, https=True)) as url,
        aiohttp.ClientSession(url, cookie_jar=aiohttp.DummyCookieJar()) as client,
    ):
        async with client.get("/login") as page:
            given = page.cookies["__Host-conftrack_login"].value
            token = token_in(await page.text())
        fields = {"token": token, "name": "lan", "password": PASSWORD}
        cookies = {"Cookie": f"__Host-conftrack_login={given}"}
        async with client.post("/login", data=fields, headers=cookies, allow_redirects=False) as answer:
            morsel = answer.cookies["__Host-conftrack_session"]
    (row,) = await province.database.pool.fetch("select * from conftrack.web_session")

    assert (morsel["httponly"], morsel["secure"], morsel["samesite"], morsel["path"]) == (True, True, "Lax", "/")
    assert row["digest"] == sha256(morsel.value.encode()).digest()
    assert row["username"] == "lan"
    assert (row["created_at"], row["expires_at"]) == (NOW, NOW + LASTS)


async def test_a_wrong_password_and_an_unknown_user_look_the_same(
    province: Province, caplog: pytest.LogCaptureFixture
) -> None:
    """The same page and status for both, and what was typed is in neither the log nor the audit."""
    caplog.set_level(logging.DEBUG)
    async with province.served(FAR) as url, visiting(url) as client:
        known = await sign_in(client, "lan", "hunter2-hunter2")
        unknown = await sign_in(client, "hunter3-hunter3", PASSWORD)
        empty = await sign_in(client, "", "")

    assert known[0] == unknown[0] == empty[0] == 403
    assert known[1] == unknown[1]
    assert "Wrong name or password" in known[1]
    assert await province.audit() == [("lan", "sign in refused"), *[("unknown", "sign in refused")] * 2]
    everything = caplog.text + str(await province.database.pool.fetch("select * from conftrack.audit"))
    assert "hunter" not in everything


async def test_tries_are_limited_by_name_whoever_it_is(province: Province) -> None:
    """After ten even the right password is refused for a while, of a user that exists and of one that does not alike;
    the first refusal is in the audit, a flood is not."""
    async with province.served(FAR) as url, visiting(url) as client:
        answers = {}
        for name in ("lan", "nobody"):
            tried = [await sign_in(client, name, "wrong wrong") for _ in range(TRIES)]
            assert {code for code, _ in tried} == {403}
            answers[name] = await sign_in(client, name)
            assert answers[name][0] == 429
            await sign_in(client, name)
        assert answers["lan"] == answers["nobody"]
        assert (await sign_in(client, "vy"))[0] == 303
    audit = [action for _, action in await province.audit()]

    assert audit.count("sign in limited") == 2  # one a name, though each was tried twice more
    assert audit.count("sign in refused") == 2 * TRIES


async def test_tries_are_limited_by_address(province: Province) -> None:
    """Many names from one address are one who guesses."""
    async with province.served(FAR) as url, visiting(url) as client:
        codes = [(await sign_in(client, f"guess-{number}", "wrong wrong"))[0] for number in range(31)]

    assert codes == [403] * 30 + [429]


@pytest.mark.parametrize("token", ["", "0" * 64, None])
async def test_a_login_form_that_was_not_handed_out_is_refused(province: Province, token: str | None) -> None:
    """Nobody is signed in under another's name by a form on another site."""
    async with province.served(FAR) as url, visiting(url) as client:
        if token is not None:
            await status(client, "/login")
        fields = {"name": "lan", "password": PASSWORD} | ({"token": token} if token is not None else {})
        async with client.post("/login", data=fields, allow_redirects=False) as refused:
            assert refused.status == 403
        assert await status(client, "/") == 303


@pytest.mark.parametrize(
    "asked",
    [
        "https://evil.example/", "//evil.example/", "/\\evil.example", "\\\\evil.example", "javascript:alert(1)",
        "/\t/evil.example", "/%0d%0aSet-Cookie:x=y\r\n", "evil.example", "", "///evil.example", "/ /\n//x", "http:/x",
    ],
)  # fmt: skip
async def test_signing_in_never_leads_elsewhere(asked: str) -> None:
    """An address in a link is followed only inside these pages."""
    led = way_on(asked)

    assert led == "/" or (led == asked and led.isprintable())
    assert re.match(r"/(?![/\\])", led)
    assert urlsplit(led).netloc == ""


async def test_a_session_ends_when_unused_and_after_a_shift(province: Province) -> None:
    """Two hours without a look, or twelve in all; use in between keeps it."""
    async with province.served(FAR) as url, visiting(url) as client:
        await sign_in(client)
        for _ in range(7):
            province.now += timedelta(minutes=100)
            assert await status(client, "/absent") == 200
        province.now = NOW + LASTS
        assert await status(client, "/absent") == 303

        await sign_in(client)
        province.now += IDLE
        assert await status(client, "/absent") == 303
    assert await province.database.pool.fetchval("select count(*) from conftrack.web_session") == 1


async def test_a_live_page_that_stays_open_ends_with_its_session(province: Province) -> None:
    """The stream of the live page stops at the end of the shift, not when the screen is switched off."""
    async with province.served(FAR) as url, visiting(url) as client:
        await sign_in(client)
        async with client.get("/events") as stream, asyncio.timeout(10):
            await stream.content.readuntil(b"event: part")
            province.now = NOW + LASTS
            await stream.content.read()


async def test_signing_out_ends_the_session_for_good(province: Province) -> None:
    """The cookie that was copied before is worth nothing any more."""
    async with province.served(FAR) as url, visiting(url) as client:
        await sign_in(client)
        copied = {c.key: c.value for c in client.cookie_jar}
        async with client.post("/logout", data={"token": await token_of(client)}, allow_redirects=False) as answer:
            assert answer.status == 303
        async with aiohttp.ClientSession(url, cookies=copied, cookie_jar=aiohttp.CookieJar(unsafe=True)) as thief:
            assert await status(thief, "/absent") == 303

    assert await province.audit() == [("lan", "sign in"), ("lan", "sign out")]


@pytest.mark.parametrize("now", [(), (user("lan", "operator", "another password"),)])
async def test_a_user_who_is_gone_or_has_another_password_is_signed_out(
    province: Province, now: tuple[WebUser, ...]
) -> None:
    """Taking a user out of the configuration, or changing the password, ends what was open."""
    async with province.served(FAR) as url, visiting(url) as client:
        await sign_in(client)
        copied = {c.key: c.value for c in client.cookie_jar}
    async with (
        province.served(WebConfig(host="10.0.0.1", users=(*USERS[1:], *now))) as url,
        aiohttp.ClientSession(url, cookies=copied, cookie_jar=aiohttp.CookieJar(unsafe=True)) as client,
    ):
        assert await status(client, "/absent") == 303


# -- who acts


async def test_nobody_acts_without_the_token_of_their_session(province: Province) -> None:
    """A form on another site, another user's token, and another kind of body change nothing."""
    incidents = await some_incidents(province)
    path = f"/incidents/{incidents['dropped']}/acknowledge"
    async with province.served() as url, visiting(url) as client, visiting(url) as other:
        await sign_in(client)
        await sign_in(other, "an")
        for fields in ({}, {"token": ""}, {"token": "0" * 64}, {"token": await token_of(other)}):
            async with client.post(path, data=fields) as refused:
                assert refused.status == 403
        async with client.post(path, json={"token": await token_of(client)}) as refused:
            assert refused.status == 415
        assert await open_ones(province) == 0

        async with client.post(path, data={"token": await token_of(client)}) as done:
            assert done.status == 200
        assert await open_ones(province) == 1


async def open_ones(province: Province) -> int:
    count: int = await province.database.pool.fetchval(
        "select count(*) from conftrack.incident where acknowledged_at is not null"
    )
    return count


async def test_a_viewer_reads_and_this_machine_alone_does_not_act(province: Province) -> None:
    """The role viewer is refused with a reason and sees no forms; without signing in nobody acts, near or far."""
    number = (await some_incidents(province))["dropped"]
    async with province.served() as url, visiting(url) as client:
        async with client.post(f"/incidents/{number}/acknowledge", data={}) as refused:
            assert refused.status == 403
        await sign_in(client, "vy")
        async with client.get("/incidents") as page:
            html = await page.text()
        assert "/acknowledge" not in html
        for action in ("acknowledge", "note", "owner", "excuse"):
            fields = {"token": token_in(html), "text": "x", "reason": "x", "owner": "line"}
            async with client.post(f"/incidents/{number}/{action}", data=fields) as refused:
                assert refused.status == 403
                assert "needs the role operator" in await refused.text()

    assert await province.audit() == [("vy", "sign in")]
    assert await province.database.pool.fetchval("select count(*) from conftrack.incident_note") == 0


async def test_who_signs_in_does_not_stop_the_rest(province: Province, monkeypatch: pytest.MonkeyPatch) -> None:
    """While passwords are hashed, pages and metrics answer."""
    begun, go_on = Event(), Event()
    in_time: list[bool] = []

    def verify(self: PasswordHasher, digest: str, password: str) -> bool:
        begun.set()
        in_time.append(go_on.wait(20))
        return False

    monkeypatch.setattr(PasswordHasher, "verify", verify)
    async with province.served(FAR) as url, visiting(url) as client:
        trying = asyncio.create_task(sign_in(client, "vy", "wrong wrong"))
        await asyncio.to_thread(begun.wait, 20)
        assert await status(client, "/healthz") == 200
        go_on.set()
        await trying

    assert in_time == [True]
