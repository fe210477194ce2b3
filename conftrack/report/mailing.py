"""Who gets the report of a month, when, and never twice.

What is to go out is a row for each address in the database before anything is tried. An attempt notes there that a
message is about to be handed over before it is, and afterwards what became of it; where nobody learns that, since the
connection or this process ended in between, the address is `unsure`, which is told and never tried again by itself.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from difflib import get_close_matches
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

import stamina
from msgspec.structs import replace

from conftrack.config import Config, MailingList
from conftrack.errors import MailError
from conftrack.mail import Attachment, Mailer, Session, compose, domain
from conftrack.report.covering import Edition, file_name, letter, standing
from conftrack.report.forms import MEDIA_TYPES, Form, make
from conftrack.report.forms.layout import FormError
from conftrack.report.keeper import ReportError, Reports, written
from conftrack.report.model import Closed, Report, Scope
from conftrack.sources.base import Clock
from conftrack.storage.database import Database, Unavailable
from conftrack.storage.leases import MAILS, Leases
from conftrack.storage.mails import Mail, Mails, MailState, Sent

logger = logging.getLogger(__name__)

Make: TypeAlias = Callable[[Form, Report | Closed, Scope, str], Awaitable[bytes]]
"""Makes a form ("pdf", …) of a report for a scope in a language."""

RETRY = timedelta(minutes=15)
"""How long after a pass in which something failed the next one comes."""
ATTEMPTS = 3
"""Of one mail in one pass, while the server says "not now" or is away."""
STOP_WITHIN = 15.0
"""Seconds that an answer under way is waited for when conftrack is told to stop: without it the mail is unsure."""


class _Deferred(MailError):
    """The server took the mail for some addresses, or none, and may take it later for the others."""


class Mailing:
    """Prepares and mails reports. Any number may work on one database: one at a time does."""

    def __init__(
        self, database: Database, reports: Reports, make: Make, *, config: Config, clock: Clock, wait: float = 2.0
    ) -> None:
        self._database = database
        self._reports = reports
        self._make = make
        self._clock = clock
        self._timezone: ZoneInfo = config.timezone
        self._config = config.report
        self._lists = {one.name: one for one in config.report.mail}
        self._sender = config.mail.sender or ""
        self._mailer = Mailer(config.mail)
        self._mails = Mails(database.pool)
        #: Seconds before the second of the attempts.
        self._wait = wait
        self._rest_until: datetime | None = None
        self._told: dict[object, str] = {}

    async def work(self) -> None:
        """Does what is due now: prepares months whose day has come since conftrack was first told to, mails them,
        mails what was closed or amended since to those who had an earlier edition, and tries again what failed.
        Does nothing while another conftrack is at it, nor for a while after a failure."""
        now = self._clock()
        if self._rest_until is not None and now < self._rest_until:
            return
        months = await self._due(now)
        if not months and not await self._mails.under_way(self._lists) and not await self._behind():
            return
        self._rest_until = now + RETRY  # unless all of it goes well
        async with Leases(self._database) as leases:
            if not await leases.acquire(MAILS):
                return
            await self._tidy()
            failed = False
            for month, due_at in await self._due(now):
                failed = failed or not await self._prepare(month, due_at)
            await self._mails.queue(await self._behind(), self._clock())
            failed = not await self._deliver(await self._mails.waiting()) or failed
            if not failed:
                self._rest_until = None

    async def plan(self, month: date, to: str | None = None) -> dict[Mail, list[Sent]]:
        """What `send` would send, and what there is of it already. Raises ReportError as `send` does."""
        chosen = self._chosen(month, to)
        edition = await self._mails.edition(month)
        known = await self._mails.sent(month)
        return {
            (mail := Mail(month, one.name, edition)): [sent for sent in known if sent.mail == mail] for one in chosen
        }

    async def send(self, month: date, *, by: str, to: str | None = None, again: bool = False) -> list[Sent]:
        """Mails a month as it stands to all lists, or the one `to`: to each address that has not been sent it, and
        with `again` to those, too, that were, or that may have been. Returns what became of each.

        Raises ReportError for a month that is not over, a list that is not there, and while another conftrack mails.
        """
        chosen = self._chosen(month, to)
        async with Leases(self._database) as leases:
            if not await leases.acquire(MAILS):
                raise ReportError("another conftrack is mailing reports: try again in a minute")
            await self._tidy()
            edition = await self._mails.edition(month)
            mails = {Mail(month, one.name, edition): one.to for one in chosen}
            await self._mails.queue(mails, self._clock())
            for mail, addresses in mails.items():
                await self._mails.again(mail, addresses, refused_only=not again, by=by, now=self._clock())
            await self._deliver({mail: to for mail, to in (await self._mails.waiting()).items() if mail in mails})
        return [sent for sent in await self._mails.sent(month) if sent.mail in mails]

    # -- what is due

    async def _due(self, now: datetime) -> list[tuple[date, datetime]]:
        """The months to prepare, each with the moment since when."""
        last = await self._mails.last_prepared()
        local = now.astimezone(self._timezone)
        month = local.date().replace(day=1)
        found: list[tuple[date, datetime]] = []
        while True:
            due_at = datetime.combine(
                month.replace(day=self._config.prepare_on), time.fromisoformat(self._config.prepare_at), self._timezone
            )
            month = (month - timedelta(days=1)).replace(day=1)
            if last is not None and month <= last:
                return found[::-1]
            if due_at <= now:
                found.append((month, due_at))
                if last is None:  # what was due before is not ours
                    return found

    async def _behind(self) -> dict[Mail, Sequence[str]]:
        """Of the lists that have an earlier edition: the mail with the one that stands."""
        return {mail: self._lists[mail.list].to for mail in await self._mails.behind() if mail.list in self._lists}

    async def _prepare(self, month: date, due_at: datetime) -> bool:
        """False: it could not be, which is told, and will be tried again."""
        closes = self._config.close == "when prepared"
        first = await self._mails.last_prepared() is None
        try:
            if first or not (closes or self._lists):
                await self._mails.prepare(month, due_at, {}, skipped=True, now=self._clock())
                return True
            if closes and await self._reports.standing(month) is None:
                closed = await self._reports.close(month, "conftrack")
                logger.info("closed the report of %s: %s", f"{month:%Y-%m}", closed.digest, extra={"action": "close"})
            edition = await self._mails.edition(month)
            mails = {Mail(month, name, edition): one.to for name, one in self._lists.items()}
            await self._mails.prepare(month, due_at, mails, skipped=False, now=self._clock())
        except ReportError as error:
            self._tell(month, f"the report of {month:%Y-%m} cannot be prepared, and will be tried again: {error}")
            return False
        self._told.pop(month, None)
        return True

    def _chosen(self, month: date, to: str | None) -> list[MailingList]:
        if month > self._reports.last():
            raise ReportError(f"{month:%Y-%m} is not over: it can be mailed from {self._reports.period(month)[1]} on")
        if not self._lists:
            raise ReportError("nobody is to get reports: add a [[report.mail]] table")
        if to is not None and to not in self._lists:
            nearest = get_close_matches(to, self._lists, 1, 0)[0]
            raise ReportError(f"there is no [[report.mail]] {to!r}; did you mean {nearest!r}?")
        return [one for name, one in self._lists.items() if to in (None, name)]

    # -- sending

    async def _tidy(self) -> None:
        """What waits for those who were taken off a list waits no more. What a conftrack that is gone was sending:
        nobody knows whether it was delivered."""
        for one in self._lists.values():
            await self._mails.unlist(one.name, one.to)
        for mail, count in (await self._mails.doubt(self._clock())).items():
            _unsure(mail, count, "conftrack ended while it was sent")

    async def _deliver(self, waiting: Mapping[Mail, Collection[str]]) -> bool:
        """False: something did not go out and waits for the next pass."""
        whole = True
        left = [mail for mail in waiting if mail.list in self._lists]
        while left:
            mail = left.pop(0)
            try:
                await self._send(mail, self._lists[mail.list])
            except _Deferred as error:  # what the server said is noted for each address
                self._tell(mail, f"{_named(mail)} waits: {error}")
            except MailError as error:  # the others go to the same server
                await self._failed([mail, *left], str(error))
                return False
            except (ReportError, FormError) as error:
                await self._failed([mail], str(error))
            except Unavailable:
                raise
            except Exception as error:  # one list never stops another
                logger.exception("%s cannot be made", _named(mail), extra={"action": "bug"})
                await self._failed([mail], f"it cannot be made: {type(error).__name__}")
            else:
                self._told.pop(mail, None)
                continue
            whole = False
        return whole

    async def _failed(self, mails: Iterable[Mail], why: str) -> None:
        for mail in mails:
            self._tell(mail, f"{_named(mail)} waits: {why}")
            await self._mails.failed(mail, why, self._clock())

    async def _send(self, mail: Mail, to: MailingList) -> None:
        made = await self._message(mail, to)
        if made is None:
            return
        async for attempt in stamina.retry_context(
            on=_passing, attempts=ATTEMPTS, timeout=None, wait_initial=self._wait, wait_jitter=self._wait / 4
        ):
            with attempt:
                waiting = (await self._mails.waiting()).get(mail, [])
                if addresses := [address for address in to.to if address in waiting]:
                    await self._attempt(mail, addresses, *made)

    async def _message(self, mail: Mail, to: MailingList) -> tuple[str, bytes] | None:
        """Message-ID and message. None: another edition stands by now. Raises ReportError for a unit that the report
        does not know."""
        closed = await self._reports.standing(mail.month)
        edition = standing(closed) if closed else Edition(await self._reports.month(mail.month))
        if edition.number != mail.edition:
            return None
        scope = Scope(unit=to.unit)
        try:
            names = {(form, lang): file_name(edition, scope, lang, form) for lang in to.languages for form in to.forms}
            said = letter(edition, scope, to.languages, list(names.values()), self._timezone)
        except KeyError:
            raise ReportError(f"there is no unit {to.unit} in the report of {mail.month:%Y-%m}") from None
        attachments = [
            Attachment(name=name, type=MEDIA_TYPES[form], content=await self._make(form, edition.stated, scope, lang))
            for (form, lang), name in names.items()
        ]
        message_id = f"<conftrack.{mail.month:%Y-%m}.{mail.list}.{_digest(edition)[:32]}@{domain(self._sender)}>"
        message = await asyncio.to_thread(
            compose, sender=self._sender, to=to.to, subject=said.subject, text=said.text, html=said.html,
            attachments=attachments, message_id=message_id, at=self._clock(),
        )  # fmt: skip
        return message_id, message

    async def _attempt(self, mail: Mail, addresses: Sequence[str], message_id: str, message: bytes) -> None:
        async with self._mailer.connect() as session:
            answers = await session.offer(addresses)
            others = {address: answer for address, answer in answers.items() if not answer.taken}
            if others:
                codes = ", ".join(sorted({str(answer.code) for answer in others.values()}))
                logger.warning("%s was not taken for %d addresses (%s)", _named(mail), len(others), codes,
                               extra={"action": "mail"})  # fmt: skip
                await self._mails.answered(mail, others, self._clock())
            if taken := [address for address in addresses if address not in others]:
                await _to_its_end(self._hand_over(session, mail, taken, message_id, message))
        if any(not answer.permanent for answer in others.values()):
            raise _Deferred(f"the mail server does not take it now for {len(others)} addresses")

    async def _hand_over(
        self, session: Session, mail: Mail, addresses: Sequence[str], message_id: str, message: bytes
    ) -> None:
        """The one place where a message leaves: first noted, then handed over, then noted what became of it."""
        attempts = await self._mails.begin(mail, addresses, message_id, self._clock())
        if attempts.keys() != set(addresses):  # somebody else is at it
            await self._mails.settle(mail, attempts, "waiting", None, self._clock())
            return
        answer = await session.deliver(message)
        state: MailState = (
            "unsure" if answer is None else "sent" if answer.taken else "refused" if answer.permanent else "waiting"
        )
        async for attempt in stamina.retry_context(on=Unavailable, attempts=5, timeout=STOP_WITHIN):
            with attempt:
                await self._mails.settle(mail, attempts, state, str(answer) if answer else None, self._clock())
        if answer is None:
            _unsure(mail, len(attempts), "the connection was lost before the mail server answered")
        elif state == "sent":
            logger.info("%s was sent to %d addresses", _named(mail), len(attempts), extra={"action": "mail"})
        elif state == "waiting":
            raise _Deferred(f"the mail server does not take the message now ({answer.code})")
        else:
            logger.error("the mail server refused %s (%d)", _named(mail), answer.code, extra={"action": "mail"})

    def _tell(self, about: object, sentence: str) -> None:
        """Once, until it says something else or is over."""
        level = logging.DEBUG if self._told.get(about) == sentence else logging.ERROR
        self._told[about] = sentence
        logger.log(level, "%s", sentence, extra={"action": "mail"})


def mailing(database: Database, config: Config, *, clock: Clock) -> Mailing:
    """The mailing of what is configured."""
    reports = Reports(
        database.pool, timezone=config.timezone, clock=clock, config=config.report,
        privacy=config.privacy, sources=[source.name for source in config.sources],
    )  # fmt: skip

    async def made(form: Form, report: Report | Closed, scope: Scope, language: str) -> bytes:
        return await make(form, report, scope=scope, language=language, letterhead=config.report)

    return Mailing(database, reports, made, config=config, clock=clock)


def _passing(error: Exception) -> bool:
    return isinstance(error, MailError) and not error.permanent


def _named(mail: Mail) -> str:
    return f"the report of {mail.month:%Y-%m} to list {mail.list}"


def _unsure(mail: Mail, count: int, why: str) -> None:
    logger.error(
        "nobody knows whether %s reached %d addresses: %s. Ask them; `conftrack report send %s --to %s --again` sends "
        "it once more", _named(mail), count, why, f"{mail.month:%Y-%m}", mail.list, extra={"action": "mail"},
    )  # fmt: skip


def _digest(edition: Edition) -> str:
    """The digest of the figures, in hexadecimal; of a month that is not closed, whenever they were taken."""
    if edition.closed is not None:
        return (edition.closed.addenda[-1] if edition.closed.addenda else edition.closed).digest
    timeless = replace(edition.report, made_at=datetime.combine(edition.report.since, time(), ZoneInfo("UTC")))
    return hashlib.sha256(written(timeless)).hexdigest()


async def _to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Awaits what should not be stopped half-way; told to stop, it has STOP_WITHIN."""
    task = asyncio.create_task(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task}, timeout=STOP_WITHIN)
        if not task.cancel() and not task.cancelled():
            task.exception()  # it was told, or is noted
        raise
