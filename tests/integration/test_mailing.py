"""Reports by mail, on a real database, to a real mail server: who gets what, when, and how often."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import date, timedelta
from io import BytesIO
from pathlib import Path

import docx
import openpyxl
import pypdfium2
import pytest
from msgspec.structs import replace

from conftrack.errors import ConftrackError
from conftrack.report.forms.docx import write_template
from conftrack.report.keeper import ReportError
from conftrack.report.mailing import RETRY, Mailing
from conftrack.report.mailing import mailing as real_mailing
from conftrack.report.model import Closed, Report, Scope
from conftrack.storage.database import Database
from conftrack.storage.leases import MAILS, Leases
from conftrack.storage.mails import Mails
from conftrack.storage.store import Store
from tests.mail_server import DROP, KEEP_AND_DROP, MailServer
from tests.mailing import DAY, DUE, MARCH, OFFICE, WARD, Clock, config, mailing, make, reports
from tests.worlds import leg, page, store_all

APRIL = date(2026, 4, 1)


@pytest.fixture
async def server() -> AsyncIterator[MailServer]:
    async with MailServer() as server:
        yield server


@pytest.fixture
def clock() -> Clock:
    return Clock(DUE - timedelta(seconds=1))


@pytest.fixture
async def begun(database: Database, server: MailServer, clock: Clock) -> None:
    """conftrack ran before the day, so that March is the first month that it prepares."""
    await mailing(database, config(server.port), clock).work()
    clock.at = DUE


async def states(database: Database) -> dict[tuple[str, int], str]:
    return {(one.address[0], one.mail.edition): one.state for one in await Mails(database.pool).sent()}


def subjects(server: MailServer) -> list[str]:
    return [str(one.message["Subject"]) for one in server.delivered]


# -- when


async def test_on_the_day_at_the_hour_last_month_is_mailed_once(
    database: Database, server: MailServer, clock: Clock
) -> None:
    """Not a second before; not again at the next look, nor after a restart; and the next month a month later."""
    conftrack = mailing(database, config(server.port), clock)
    await conftrack.work()
    assert server.delivered == []

    clock.at = DUE
    await conftrack.work()
    await conftrack.work()
    await mailing(database, config(server.port), clock).work()
    assert subjects(server) == ["Báo cáo sử dụng hội nghị trực tuyến tháng 03/2026 (chưa chốt)"]
    assert server.counts() == {"a@example.vn": 1, "b@example.vn": 1}

    clock.at = DUE + 30 * DAY
    await conftrack.work()
    assert subjects(server)[1:] == ["Báo cáo sử dụng hội nghị trực tuyến tháng 04/2026 (chưa chốt)"]


async def test_months_from_before_it_was_told_to_are_not_mailed(
    database: Database, server: MailServer, clock: Clock
) -> None:
    """Neither at the very first start, nor when lists are added to a conftrack that ran without."""
    clock.at = DUE + DAY
    without = config(server.port)
    without = type(without)(mail=without.mail)
    await mailing(database, without, clock).work()
    clock.at += 30 * DAY
    await mailing(database, without, clock).work()
    await mailing(database, config(server.port), clock).work()
    assert server.delivered == []

    clock.at += 30 * DAY
    await mailing(database, config(server.port), clock).work()
    assert len(server.delivered) == 1


@pytest.mark.usefixtures("begun")
async def test_a_service_that_was_down_on_the_day_does_it_when_it_is_back(
    database: Database, server: MailServer, clock: Clock
) -> None:
    """Each month that it missed, once, the oldest first."""
    clock.at = DUE + 40 * DAY
    for _ in range(2):
        await mailing(database, config(server.port), clock).work()

    assert [subject[-19:-12] for subject in subjects(server)] == ["03/2026", "04/2026"]


@pytest.mark.usefixtures("begun")
async def test_of_several_conftracks_one_mails(database: Database, server: MailServer, clock: Clock) -> None:
    await asyncio.gather(*(mailing(database, config(server.port), clock).work() for _ in range(5)))

    assert server.counts() == {"a@example.vn": 1, "b@example.vn": 1}


@pytest.mark.usefixtures("begun")
async def test_even_without_the_lease_an_address_is_written_to_once(
    database: Database, server: MailServer, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lease is lost with its database session, while a mail is under way: the rows themselves hold."""

    async def granted(self: Leases, number: int) -> bool:
        return True

    monkeypatch.setattr(Leases, "acquire", granted)
    await asyncio.gather(*(mailing(database, config(server.port), clock).work() for _ in range(5)))

    assert max(server.counts().values()) == 1
    assert set(server.counts()) <= {"a@example.vn", "b@example.vn"}


# -- what


@pytest.mark.usefixtures("begun")
async def test_each_list_gets_its_unit_in_its_languages_and_forms(
    database: Database, server: MailServer, clock: Clock
) -> None:
    """One mail a list, with what was asked for attached."""
    await database.pool.execute(
        "insert into conftrack.org_unit (code, name, valid_from) values ('W1', 'Phường Việt Trì', '2025-07-01')"
    )
    await mailing(database, config(server.port, OFFICE, WARD), clock).work()
    whole, ward = (one.message for one in server.delivered)

    assert whole["To"] == "a@example.vn, b@example.vn"
    assert [part.get_content() for part in whole.iter_attachments()] == [b"pdf open None vi"]
    assert ward["Subject"].startswith("Báo cáo sử dụng hội nghị trực tuyến tháng 03/2026 – Phường Việt Trì (chưa chốt)")
    assert {str(part.get_filename()): part.get_content() for part in ward.iter_attachments()} == {
        "Báo cáo hội nghị trực tuyến 2026-03 – Phường Việt Trì.pdf": b"pdf open W1 vi",
        "Báo cáo hội nghị trực tuyến 2026-03 – Phường Việt Trì.xlsx": b"xlsx open W1 vi",
        "Video conferencing report 2026-03 – Phường Việt Trì.pdf": b"pdf open W1 en",
        "Video conferencing report 2026-03 – Phường Việt Trì.xlsx": b"xlsx open W1 en",
    }


@pytest.mark.usefixtures("begun")
async def test_who_got_a_report_gets_what_is_signed_and_corrected_later_once(
    database: Database, store: Store, server: MailServer, clock: Clock
) -> None:
    """Open on the day, closed when somebody closes it, and each addendum; a list that got nothing gets nothing."""
    kept = reports(database, config(server.port), clock)
    conftrack = mailing(database, config(server.port), clock)
    await conftrack.work()
    await kept.close(MARCH, "Nguyễn Văn A", anyway=True)
    for _ in range(2):
        await mailing(database, config(server.port, OFFICE, WARD), clock).work()
    await store_all(store, [page(leg(identity="late@vc.example"))])
    assert await kept.amend(MARCH, "Nguyễn Văn A")
    assert await kept.amend(MARCH, "Nguyễn Văn A") is None
    for _ in range(2):
        await conftrack.work()

    assert [subject.partition("03/2026")[2] for subject in subjects(server)] == [
        " (chưa chốt)", "", " (bản đính chính 1)"
    ]  # fmt: skip
    assert server.counts() == {"a@example.vn": 3, "b@example.vn": 3}
    assert len({one.message["Message-ID"] for one in server.delivered}) == 3
    body = server.delivered[2].message.get_body(("plain",))
    assert body is not None
    assert "Bản đính chính số 1" in body.get_content()
    assert "Nguyễn" not in body.get_content()


@pytest.mark.usefixtures("begun")
async def test_what_waited_is_replaced_by_what_is_signed_meanwhile(
    database: Database, server: MailServer, clock: Clock
) -> None:
    """Nobody is sent figures that stand no more, nor two mails at once."""
    server.script = lambda command, address: "450 later" if command == "RCPT" else None
    await mailing(database, config(server.port), clock).work()
    await reports(database, config(server.port), clock).close(MARCH, "Lan", anyway=True)
    server.script = lambda command, address: None
    await mailing(database, config(server.port), clock).work()

    assert [subject.partition("03/2026")[2] for subject in subjects(server)] == [""]
    assert await states(database) == {("a", 1): "sent", ("b", 1): "sent"}


@pytest.mark.usefixtures("begun")
async def test_the_job_closes_a_month_only_where_it_is_told_to_and_has_all_of_it(
    database: Database, server: MailServer, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """A source that was not read to the end of the month holds it back, which is told; later it is tried again."""
    closing = config(server.port, close="when prepared")
    held = mailing(database, closing, clock, ("pexip-main",))
    await held.work()
    assert "cannot be prepared, and will be tried again: pexip-main" in caplog.text
    assert server.delivered == []

    clock.at += RETRY
    await mailing(database, closing, clock).work()
    assert [subject.partition("03/2026")[2] for subject in subjects(server)] == [""]
    closed = await reports(database, closing, clock).standing(MARCH)
    assert closed is not None
    assert closed.closed_by == "conftrack"


@pytest.mark.usefixtures("begun")
async def test_the_forms_themselves_are_mailed(
    database: Database, store: Store, server: MailServer, clock: Clock
) -> None:
    """From the facts to what an official opens: a PDF that says the month in Vietnamese, a letter, a workbook."""
    await store_all(store, [page(leg(identity="one@vc.example"), position=DUE)])
    office = replace(OFFICE, forms=("pdf", "docx", "xlsx"))
    await real_mailing(database, config=config(server.port, office), clock=clock).work()

    files = {str(part.get_filename()): part.get_content() for part in server.delivered[0].message.iter_attachments()}
    assert list(files) == [f"Báo cáo hội nghị trực tuyến 2026-03.{form}" for form in ("pdf", "docx", "xlsx")]
    pdf, letter, book = files.values()
    title = "Tình hình sử dụng hệ thống hội nghị trực tuyến tháng 3 năm 2026"
    with pypdfium2.PdfDocument(pdf) as opened:
        said = " ".join(opened[0].get_textpage().get_text_bounded().split())
    assert said.startswith(f"{title} (tạm tính: số liệu chưa chốt)")
    assert "Lượt điểm cầu 1 " in said
    assert any(line.text.startswith(title) for line in docx.Document(BytesIO(letter)).paragraphs)
    assert str(openpyxl.load_workbook(BytesIO(book)).worksheets[0]["A1"].value).startswith(title)


# -- what goes wrong


@pytest.mark.usefixtures("begun")
async def test_a_broken_template_holds_back_the_mail_and_is_told(
    database: Database, server: MailServer, clock: Clock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Which file and what is wrong; the list that wants no letter gets its mail; once it is mended, the other too."""
    template = tmp_path / "letter.docx"
    template.write_text("not a document")
    letters = replace(OFFICE, name="letters", to=("d@example.vn",), forms=("docx",))
    told = config(server.port, OFFICE, letters)
    told = replace(told, report=replace(told.report, template=template))
    conftrack = real_mailing(database, config=told, clock=clock)
    await conftrack.work()
    assert server.counts() == {"a@example.vn": 1, "b@example.vn": 1}
    assert f"to list letters waits: the template {template} is no .docx that can be read" in caplog.text

    write_template(template, "vi")
    clock.at += RETRY
    await conftrack.work()
    assert server.counts() == {"a@example.vn": 1, "b@example.vn": 1, "d@example.vn": 1}


@pytest.mark.usefixtures("begun")
async def test_a_server_that_is_away_is_told_once_and_tried_again_later(
    database: Database, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async with MailServer() as server:
        port = server.port
    conftrack = mailing(database, config(port), clock)
    for _ in range(3):
        await conftrack.work()
        clock.at += RETRY
    assert caplog.text.count("cannot be reached") == 1
    assert [one.answer for one in await Mails(database.pool).sent()] == [
        f"mail server 127.0.0.1:{port} cannot be reached, or ended the connection"
    ] * 2

    async with MailServer(port=port) as server:
        await conftrack.work()
        assert server.counts() == {"a@example.vn": 1, "b@example.vn": 1}
    assert await states(database) == {("a", 0): "sent", ("b", 0): "sent"}


@pytest.mark.usefixtures("begun")
async def test_nothing_waits_for_somebody_who_was_taken_off_the_list(
    database: Database, server: MailServer, clock: Clock
) -> None:
    """Its report is not made again every minute for nobody."""
    server.script = lambda command, address: "450 greylisted" if address[0] == "b" and command == "RCPT" else None
    await mailing(database, config(server.port), clock).work()
    assert await states(database) == {("a", 0): "sent", ("b", 0): "waiting"}

    clock.at += RETRY
    await mailing(database, config(server.port, type(OFFICE)(name="office", to=OFFICE.to[:1])), clock).work()
    assert await states(database) == {("a", 0): "sent"}
    assert not await Mails(database.pool).under_way(["office"])
    assert server.counts() == {"a@example.vn": 1}


@pytest.mark.usefixtures("begun")
@pytest.mark.parametrize("command", ["MAIL", "RCPT", "DATA"])
async def test_a_server_that_says_not_now_is_asked_again_at_once(
    database: Database, server: MailServer, clock: Clock, command: str
) -> None:
    """Two refusals that pass, then it takes the mail: once."""
    refusals = iter(["451 busy"] * 2)
    server.script = lambda asked, address: next(refusals, None) if asked == command and address[0] != "b" else None
    await mailing(database, config(server.port), clock).work()

    assert server.counts() == {"a@example.vn": 1, "b@example.vn": 1}


@pytest.mark.usefixtures("begun")
async def test_addresses_that_must_wait_do_not_hold_up_the_others(
    database: Database, server: MailServer, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Who was greylisted gets it later, alone; who does not exist is noted; and no log says who they are."""
    three = type(OFFICE)(name="office", to=(*OFFICE.to, "gone@example.vn"), forms=("pdf",))
    answers = {"b@example.vn": "450 greylisted", "gone@example.vn": "550 no such user"}
    server.script = lambda command, address: answers.get(address) if command == "RCPT" else None
    conftrack = mailing(database, config(server.port, three), clock)
    await conftrack.work()
    assert server.counts() == {"a@example.vn": 1}
    assert await states(database) == {("a", 0): "sent", ("b", 0): "waiting", ("g", 0): "refused"}

    del answers["b@example.vn"]
    await conftrack.work()
    assert server.counts() == {"a@example.vn": 1}  # it rests

    clock.at += RETRY
    await conftrack.work()
    assert server.counts() == {"a@example.vn": 1, "b@example.vn": 1}
    assert {one.address: one.answer for one in await Mails(database.pool).sent()} == {
        "a@example.vn": "250 OK", "b@example.vn": "250 OK", "gone@example.vn": "550 no such user",
    }  # fmt: skip
    assert "@example.vn" not in caplog.text


@pytest.mark.usefixtures("begun")
@pytest.mark.parametrize(("said", "arrived"), [(DROP, 0), (KEEP_AND_DROP, 1)])
async def test_a_mail_that_may_have_arrived_is_never_sent_again_by_itself(
    database: Database, server: MailServer, clock: Clock, caplog: pytest.LogCaptureFixture, said: str, arrived: int
) -> None:
    """Only when a person says so, in so many words; who did is in the audit."""
    server.script = lambda command, address: said if command == "DATA" else None
    conftrack = mailing(database, config(server.port), clock)
    await conftrack.work()
    assert "nobody knows whether the report of 2026-03 to list office reached 2 addresses" in caplog.text
    assert await states(database) == {("a", 0): "unsure", ("b", 0): "unsure"}

    server.script = lambda command, address: None
    for _ in range(3):
        clock.at += RETRY
        await conftrack.work()
        await conftrack.send(MARCH, by="lan")
    assert server.counts() == ({"a@example.vn": 1, "b@example.vn": 1} if arrived else {})

    sent = await conftrack.send(MARCH, by="lan", again=True)
    assert [one.state for one in sent] == ["sent", "sent"]
    assert server.counts() == {"a@example.vn": arrived + 1, "b@example.vn": arrived + 1}
    audit = await database.pool.fetchrow("select actor, action, detail::text from conftrack.audit")
    assert audit is not None
    assert audit["actor"] == "lan"
    assert '"addresses": 2' in audit["detail"]
    assert "example.vn" not in audit["detail"]


@pytest.mark.usefixtures("begun")
async def test_what_the_server_refused_for_good_is_sent_when_a_person_asks(
    database: Database, server: MailServer, clock: Clock
) -> None:
    """Nothing was delivered, so it needs no --again; the job itself leaves it."""
    server.script = lambda command, address: "554 too large" if command == "DATA" else None
    conftrack = mailing(database, config(server.port), clock)
    await conftrack.work()
    assert await states(database) == {("a", 0): "refused", ("b", 0): "refused"}
    server.script = lambda command, address: None
    clock.at += RETRY
    await conftrack.work()
    assert server.delivered == []

    await conftrack.send(MARCH, by="lan")
    assert server.counts() == {"a@example.vn": 1, "b@example.vn": 1}


@pytest.mark.usefixtures("begun")
async def test_one_list_never_stops_another(
    database: Database, server: MailServer, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """A unit that is not there, a form that cannot be made: told, and the others get theirs."""

    async def broken(form: str, report: Report | Closed, scope: Scope, language: str) -> bytes:
        if language == "en":
            raise ValueError("no font")
        return await make(form, report, scope, language)

    lost = type(OFFICE)(name="lost", to=("d@example.vn",), unit="NOWHERE")
    english = type(OFFICE)(name="english", to=("e@example.vn",), languages=("en",))
    settings = config(server.port, lost, english, OFFICE)
    kept = reports(database, settings, clock)
    await Mailing(database, kept, broken, config=settings, clock=clock).work()

    assert server.counts() == {"a@example.vn": 1, "b@example.vn": 1}
    assert "there is no unit NOWHERE in the report of 2026-03" in caplog.text
    assert [r for r in caplog.records if r.exc_info and "list english" in r.getMessage()]
    answers = {one.address[0]: one.answer for one in await Mails(database.pool).sent() if one.state == "waiting"}
    assert answers == {
        "d": "there is no unit NOWHERE in the report of 2026-03", "e": "it cannot be made: ValueError"
    }  # fmt: skip


@pytest.mark.usefixtures("begun")
async def test_a_stop_waits_for_an_answer_that_is_under_way(
    database: Database, server: MailServer, clock: Clock
) -> None:
    """Stopping conftrack while a mail is handed over makes no doubt of it."""
    handed_over = asyncio.Event()

    def script(command: str, address: str) -> str | None:
        if command == "DATA":
            handed_over.set()
        return None

    server.script = script
    working = asyncio.create_task(mailing(database, config(server.port), clock).work())
    await handed_over.wait()
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working

    assert await states(database) == {("a", 0): "sent", ("b", 0): "sent"}


# -- by hand


async def test_a_month_can_be_sent_by_hand_once(database: Database, server: MailServer, clock: Clock) -> None:
    """To one list or all; what was sent is not sent again, by hand or on the day, unless told to."""
    conftrack = mailing(database, config(server.port, OFFICE, WARD), clock)
    planned = await conftrack.plan(MARCH)
    assert [(mail.list, sent) for mail, sent in planned.items()] == [("office", []), ("ward", [])]
    assert await Mails(database.pool).sent() == []

    for _ in range(2):
        await conftrack.send(MARCH, by="lan", to="office")
    assert server.counts() == {"a@example.vn": 1, "b@example.vn": 1}

    await conftrack.send(MARCH, by="lan", to="office", again=True)
    assert server.counts() == {"a@example.vn": 2, "b@example.vn": 2}
    assert len({one.message["Message-ID"] for one in server.delivered}) == 1  # the same figures, the same mail


async def test_sending_by_hand_says_what_it_cannot_do(database: Database, server: MailServer, clock: Clock) -> None:
    conftrack = mailing(database, config(server.port), clock)
    with pytest.raises(ReportError, match="2026-04 is not over"):
        await conftrack.send(APRIL, by="lan")
    with pytest.raises(ReportError, match=r"no \[\[report.mail\]\] 'ofice'; did you mean 'office'"):
        await conftrack.send(MARCH, by="lan", to="ofice")
    async with Leases(database) as other:
        assert await other.acquire(MAILS)
        with pytest.raises(ConftrackError, match="another conftrack is mailing"):
            await conftrack.send(MARCH, by="lan")
    assert server.connections == 0
