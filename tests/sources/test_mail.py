"""Mail over real sockets: TLS, signing in, what a server may answer, and what a message is made of."""

from __future__ import annotations

import traceback
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftrack.config import MailConfig, Secret
from conftrack.errors import MailError
from conftrack.mail import Answer, Attachment, Mailer, compose
from tests.mail_server import DROP, KEEP_AND_DROP, Authority, Delivered, MailServer

AT = datetime(2026, 11, 3, 0, 0, tzinfo=UTC)
NAME = "Báo cáo hội nghị trực tuyến 2026-10 – Phường Việt Trì.pdf"
SENDER = "Hội nghị trực tuyến <report@phutho.gov.vn>"
LOGIN = ("conftrack", "mật khẩu x9secret")


def message(**said: Any) -> bytes:
    known: dict[str, Any] = {
        "sender": SENDER, "to": ["a@example.vn", "b@example.vn"], "subject": "Báo cáo tháng 10/2026",
        "text": "Kính gửi\n.một dòng bắt đầu bằng dấu chấm\n", "html": "<p>Kính gửi</p>",
        "attachments": [Attachment(name=NAME, type="application/pdf", content=b"%PDF-1.7\r\n.\r\n\x00\xff")],
        "message_id": "<conftrack.2026-10.office.abc@phutho.gov.vn>", "at": AT,
    }  # fmt: skip
    return compose(**known | said)


def config(server: MailServer, **said: Any) -> MailConfig:
    known: dict[str, Any] = {"host": "127.0.0.1", "port": server.port, "security": "none", "sender": SENDER}
    return MailConfig(**known | said)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


async def sent(mail: MailConfig, *addresses: str, content: bytes | None = None) -> Answer | None:
    async with Mailer(mail).connect() as session:
        answers = await session.offer(addresses or ["a@example.vn"])
        assert all(answer.taken for answer in answers.values())
        return await session.deliver(content or message())


# -- the connection


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_over_tls_the_message_arrives_as_it_was_made(
    authority: Authority, security: Literal["starttls", "tls"]
) -> None:
    """Signed in, to both addresses, byte for byte, lines with a dot alone too."""
    async with MailServer(authority.server(), security=security, login=LOGIN) as server:
        mail = config(
            server, security=security, ca_file=authority.ca_file, username=LOGIN[0], password=Secret(LOGIN[1])
        )
        answer = await sent(mail, "a@example.vn", "b@example.vn")

        assert answer == Answer(250, "OK")
        assert server.delivered == [
            Delivered("report@phutho.gov.vn", ("a@example.vn", "b@example.vn"), message())
        ]  # fmt: skip
        assert server.logins == ["conftrack"]
        assert "signed in" in await Mailer(mail).check()
        assert len(server.delivered) == 1


@pytest.mark.parametrize("security", ["starttls", "tls"])
@pytest.mark.parametrize("wrong", ["another authority", "another host", "the system's authorities"])
async def test_a_certificate_that_is_not_trusted_ends_it_before_the_password(
    tmp_path: Path, authority: Authority, security: Literal["starttls", "tls"], wrong: str
) -> None:
    """Whoever stands in between learns neither the password nor the report."""
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other")
    presents = authority.server("127.0.0.2" if wrong == "another host" else "127.0.0.1")
    trusted = {"another authority": other.ca_file, "another host": authority.ca_file}.get(wrong)
    async with MailServer(presents, security=security, login=LOGIN) as server:
        mail = config(server, security=security, ca_file=trusted, username=LOGIN[0], password=Secret(LOGIN[1]))
        with pytest.raises(MailError, match=r"is not trusted .*ca_file") as caught:
            await sent(mail)

        assert caught.value.permanent
        assert server.logins == []
        assert server.delivered == []


async def test_a_server_without_starttls_is_not_spoken_to_in_the_clear(authority: Authority) -> None:
    """An attacker who cuts STARTTLS out gains nothing."""
    async with MailServer(security="none") as server:
        with pytest.raises(MailError, match="STARTTLS") as caught:
            await sent(config(server, security="starttls", ca_file=authority.ca_file))

        assert caught.value.permanent
        assert server.delivered == []


async def test_a_wrong_password_is_told_and_not_shown(authority: Authority) -> None:
    """Neither the error nor its traceback has it; trying again does not help."""
    async with MailServer(authority.server(), security="starttls", login=LOGIN) as server:
        mail = config(
            server, security="starttls", ca_file=authority.ca_file, username="conftrack", password=Secret("wr0ng")
        )
        with pytest.raises(MailError, match=r"does not let us sign in \(535\)") as caught:
            await Mailer(mail).check()

        assert caught.value.permanent
        assert "wr0ng" not in "".join(traceback.format_exception(caught.value)) + repr(mail)


async def test_nobody_there_is_worth_another_try() -> None:
    async with MailServer() as server:
        pass
    with pytest.raises(MailError, match="cannot be reached") as caught:
        await sent(config(server))

    assert not caught.value.permanent


# -- what the server may answer


async def test_each_address_is_answered_for_itself() -> None:
    """One taken, one that may come again, one that never will."""
    answers = {"b@example.vn": "450 4.2.0 greylisted", "c@example.vn": "550 5.1.1 no such user"}
    async with MailServer() as server:
        server.script = lambda command, address: answers.get(address) if command == "RCPT" else None
        async with Mailer(config(server)).connect() as session:
            said = await session.offer(["a@example.vn", "b@example.vn", "c@example.vn"])
            assert await session.deliver(message()) == Answer(250, "OK")

        assert {a: (x.taken, x.permanent) for a, x in said.items()} == {
            "a@example.vn": (True, False), "b@example.vn": (False, False), "c@example.vn": (False, True),
        }  # fmt: skip
        assert str(said["c@example.vn"]) == "550 5.1.1 no such user"
        assert server.counts() == {"a@example.vn": 1}


@pytest.mark.parametrize(("answer", "permanent"), [("451 try later", False), ("550 never", True), (DROP, False)])
async def test_a_sender_that_is_not_taken_is_an_error(answer: str, permanent: bool) -> None:
    async with MailServer() as server:
        server.script = lambda command, address: answer if command == "MAIL" else None
        with pytest.raises(MailError) as caught:
            await sent(config(server))

        assert caught.value.permanent is permanent


@pytest.mark.parametrize(
    ("said", "answer", "arrived"),
    [
        ("451 later", Answer(451, "later"), 0),
        ("554 spam", Answer(554, "spam"), 0),
        (DROP, None, 0),
        (KEEP_AND_DROP, None, 1),
    ],
)
async def test_what_becomes_of_a_message_is_told_or_is_not_known(
    said: str, answer: Answer | None, arrived: int
) -> None:
    """A connection lost after the message looks the same whether it arrived or not: None, never an error to retry."""
    async with MailServer() as server:
        server.script = lambda command, address: said if command == "DATA" else None

        assert await sent(config(server)) == answer
        assert len(server.delivered) == arrived


async def test_what_a_server_says_is_one_short_line() -> None:
    """It ends in a database and on a terminal."""
    async with MailServer() as server:
        server.script = lambda command, address: "550-\x1b[31mno\r\n550 " + "x" * 400 if command == "DATA" else None
        answer = await sent(config(server))

    assert answer is not None
    assert "\x1b" not in answer.text
    assert "\n" not in answer.text
    assert len(answer.text) <= 300


# -- what a message is made of


def read(content: bytes) -> EmailMessage:
    return Delivered("", (), content).message


def test_a_message_has_text_html_and_its_attachments_by_their_names() -> None:
    """As a mail program reads it, diacritics and all."""
    made = read(message())
    text, html = made.get_body(("plain",)), made.get_body(("html",))
    (attached,) = made.iter_attachments()

    assert text is not None
    assert html is not None
    assert text.get_content().replace("\r\n", "\n") == "Kính gửi\n.một dòng bắt đầu bằng dấu chấm\n"
    assert html.get_content().strip() == "<p>Kính gửi</p>"
    assert attached.get_filename() == NAME
    assert attached.get_content() == b"%PDF-1.7\r\n.\r\n\x00\xff"
    assert attached.get_content_type() == "application/pdf"
    assert b"filename*" in message()  # RFC 2231, not what only some programs guess
    assert made["Subject"] == "Báo cáo tháng 10/2026"
    assert made["From"].addresses == (Address("Hội nghị trực tuyến", "report", "phutho.gov.vn"),)
    assert made["To"] == "a@example.vn, b@example.vn"
    assert made["Message-ID"] == "<conftrack.2026-10.office.abc@phutho.gov.vn>"
    assert made["Auto-Submitted"] == "auto-generated"
    assert made["Date"].datetime == AT
    assert all(byte < 128 for byte in message())
    assert max(map(len, message().split(b"\r\n"))) <= 998


def test_the_same_mail_is_the_same_bytes() -> None:
    """What is tried again is the same message."""
    assert message() == message()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text("aBáệ–()", min_size=1), min_size=1).map(" ".join))
def test_a_subject_arrives_as_it_is(subject: str) -> None:
    """Long ones too, with every space and diacritic."""
    assert read(message(subject=subject))["Subject"] == subject


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=80), st.text(max_size=80))
def test_no_subject_and_no_file_name_becomes_a_header_or_a_path(subject: str, name: str) -> None:
    """Units are named by people, and a name may hold anything."""
    headers = sorted(read(message()).keys())
    subject, name = f"{subject}\r\nBcc: x@evil.vn\r\n\r\n{subject}", f"../{name}\r\nX-Evil: 1/..\\{name}"
    try:
        content = message(
            subject=subject, attachments=[Attachment(name=name, type="text/html", content=b"<p>")]
        )  # fmt: skip
    except UnicodeEncodeError:  # half of a character: no name in a database has one
        return
    made = read(content)
    (attached,) = made.iter_attachments()

    assert sorted(made.keys()) == headers
    assert "x-evil" not in {key.lower() for key in attached}
    assert attached.get_filename() is not None
    assert not set("/\\\r\n") & set(str(attached.get_filename()))
    assert not str(attached.get_filename()).startswith(".")
