"""Reports by mail in Postgres: what is to go out, and what has.

The state of each address only moves on by statements that look at what it is now, so that however many conftracks
work on it, and wherever one dies, no address is handed to a mail server twice without somebody asking for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Literal, TypeAlias

import asyncpg
import msgspec

from conftrack.mail import Answer
from conftrack.model import Record
from conftrack.storage.queries import query

MailState: TypeAlias = Literal["waiting", "sending", "sent", "refused", "unsure"]
"""Waiting for an attempt; the server's answer is awaited; delivered to the server; not deliverable; nobody knows."""


class Mail(Record, frozen=True, order=True):
    """One report to one list. `edition` 0: before its month was closed; 1: closed; 1 + n: with addendum n."""

    month: date
    list: str
    edition: int


class Sent(Record, frozen=True, kw_only=True):
    """What became of a mail at one address."""

    mail: Mail
    address: str
    state: MailState
    attempt: int
    changed_at: datetime
    #: What the server, or conftrack itself, said last.
    answer: str | None


class Mails:
    def __init__(self, pool: asyncpg.Pool[asyncpg.Record]) -> None:
        self._pool = pool

    # -- what is due

    async def last_prepared(self) -> date | None:
        """The latest month that was prepared, or passed over."""
        found: date | None = await self._pool.fetchval(query("find_prepared_month"))
        return found

    async def prepare(
        self, month: date, due_at: datetime, mails: Mapping[Mail, Sequence[str]], *, skipped: bool, now: datetime
    ) -> None:
        """Notes that a month was prepared, and to whom it is to go; both or neither, and once."""
        async with self._pool.acquire() as connection, connection.transaction():
            if await connection.fetchval(query("keep_prepared_month"), month, due_at, now, skipped) is not None:
                await _queue(connection, mails, now)

    async def queue(self, mails: Mapping[Mail, Sequence[str]], now: datetime) -> None:
        """Mails that are to go out. What waits for an attempt in an earlier edition does not go out any more; what is
        there stays as it is."""
        async with self._pool.acquire() as connection, connection.transaction():
            await _queue(connection, mails, now)

    async def unlist(self, name: str, addresses: Sequence[str]) -> None:
        """Nothing waits any more for whom is not among the addresses of a list."""
        await self._pool.execute(query("drop_unlisted_mail"), name, list(addresses))

    async def edition(self, month: date) -> int:
        """The edition of a month that stands now."""
        found: int = await self._pool.fetchval(query("find_edition"), month)
        return found

    async def behind(self) -> list[Mail]:
        """Of the lists that have, or were to get, an edition that stands no more: the mail with the one that does."""
        return [Mail(**row) for row in await self._pool.fetch(query("list_behind_mail"))]

    async def under_way(self, lists: Iterable[str]) -> bool:
        """Whether anything waits to go out to these lists, or was being sent."""
        found: bool = await self._pool.fetchval(query("find_open_mail"), list(lists))
        return found

    async def waiting(self) -> dict[Mail, list[str]]:
        """Addresses that wait for an attempt, by mail."""
        found: dict[Mail, list[str]] = {}
        for row in await self._pool.fetch(query("list_waiting_mail")):
            found.setdefault(Mail(row["month"], row["list"], row["edition"]), []).append(row["address"])
        return found

    # -- one attempt

    async def begin(self, mail: Mail, addresses: Sequence[str], message_id: str, now: datetime) -> dict[str, int]:
        """Notes that the mail is about to be handed over. Returns those of the addresses that are ours to write to,
        each with the number of its attempt: committed, even where the database is told not to wait for its disk."""
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(query("commit_to_disk"))
            rows = await connection.fetch(query("begin_mail"), *_key(mail), list(addresses), message_id, now)
        return {row["address"]: row["attempt"] for row in rows}

    async def settle(
        self, mail: Mail, attempts: Mapping[str, int], state: MailState, answer: str | None, now: datetime
    ) -> None:
        """Notes what became of these attempts."""
        await self._pool.execute(
            query("settle_mail"), *_key(mail), list(attempts), list(attempts.values()), state, answer, now
        )

    async def answered(self, mail: Mail, answers: Mapping[str, Answer], now: datetime) -> None:
        """Notes what the server said of addresses that it did not take: a permanent refusal ends it."""
        await self._pool.execute(
            query("answer_mail"), *_key(mail), list(answers), [str(answer) for answer in answers.values()],
            [answer.permanent for answer in answers.values()], now,
        )  # fmt: skip

    async def failed(self, mail: Mail, why: str, now: datetime) -> None:
        """Notes why an attempt came to nothing; the mail waits for the next."""
        await self._pool.execute(query("note_mail"), *_key(mail), why, now)

    async def doubt(self, now: datetime) -> dict[Mail, int]:
        """To be called by whoever alone may send: what is being sent was begun by one that is gone, so nobody knows.
        Returns how many addresses of each mail that are."""
        rows = await self._pool.fetch(query("doubt_mail"), now)
        return {Mail(row["month"], row["list"], row["edition"]): row["addresses"] for row in rows}

    # -- what people ask

    async def sent(self, month: date | None = None) -> list[Sent]:
        """What there is of a month, or of all, the latest month first."""
        return [_sent(row) for row in await self._pool.fetch(query("list_mail"), month)]

    async def again(self, mail: Mail, addresses: Sequence[str], *, refused_only: bool, by: str, now: datetime) -> int:
        """Has a mail go out once more: to those who refused it, or to all whatever became of it. Returns to how many,
        which the audit says too."""
        async with self._pool.acquire() as connection, connection.transaction():
            count = len(await connection.fetch(query("repeat_mail"), *_key(mail), list(addresses), refused_only, now))
            if count:
                detail = {
                    "month": mail.month.isoformat(), "list": mail.list, "edition": mail.edition, "addresses": count
                }  # fmt: skip
                told = msgspec.json.encode(detail).decode()
                await connection.execute(query("keep_audit"), now, by, "report send again", told)
        return count


def _key(mail: Mail) -> tuple[date, str, int]:
    return mail.month, mail.list, mail.edition


async def _queue(
    connection: asyncpg.pool.PoolConnectionProxy[asyncpg.Record], mails: Mapping[Mail, Iterable[str]], now: datetime
) -> None:
    for mail, addresses in mails.items():
        await connection.execute(query("drop_waiting_mail"), *_key(mail))
        await connection.execute(query("queue_mail"), *_key(mail), list(addresses), now)


def _sent(row: asyncpg.Record) -> Sent:
    values = dict(row)
    mail = Mail(values.pop("month"), values.pop("list"), values.pop("edition"))
    return Sent(mail=mail, **values)
