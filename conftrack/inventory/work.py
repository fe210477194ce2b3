"""What the inventory commands do: look, show what would change, ask, put it in, and derive what follows from it."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import click
import msgspec
from msgspec.structs import replace

from conftrack.config import Config, PrivacyConfig
from conftrack.incidents.keeper import Incidents
from conftrack.inventory import files, show
from conftrack.inventory import invitations as invited
from conftrack.inventory.asking import Consent, agreed, operator
from conftrack.inventory.changes import changes, invitation_changes
from conftrack.inventory.headings import Language, Rows
from conftrack.inventory.invitations import Invited
from conftrack.inventory.matching import Match, matched
from conftrack.inventory.names import Finder, Likely
from conftrack.inventory.planning import Plan, plan
from conftrack.inventory.tables import WrongFiles
from conftrack.privacy import Privacy
from conftrack.sources.base import Clock
from conftrack.storage import inventory, invitations
from conftrack.storage.database import Connection, Database
from conftrack.storage.inventory import Entry, Inventory, Unmatched
from conftrack.storage.invitations import Known
from conftrack.storage.store import USUAL, Store


class Work:
    """The work on one database's inventory. `say` tells the operator a line; `consent` is None where nobody can be
    asked, and then nothing is changed. `at_most` lines of one kind are told."""

    def __init__(
        self,
        pool: asyncpg.Pool[asyncpg.Record],
        timezone: ZoneInfo,
        *,
        clock: Clock,
        actor: str,
        say: Callable[[str], None],
        consent: Consent | None = None,
        at_most: int | None = None,
        privacy: PrivacyConfig = USUAL,
    ) -> None:
        self._pool = pool
        self._store = Store(pool, timezone, privacy)
        self._incidents = Incidents(pool, timezone)
        self._timezone = timezone
        self._clock = clock
        self._actor = actor
        self._say = say
        self._consent = consent
        self._at_most = at_most

    async def import_rows(self, rows: Rows, *, replaces: bool) -> bool:
        """Puts in what the rows and calendars say; False where it was not agreed to. Raises WrongFiles."""
        now = self._clock()
        stored = await inventory.load(self._pool)
        privacy = await self._store.privacy()
        known = await invitations.load(self._pool, invited.named(rows, self._timezone, now, privacy), now)
        planned, called = self._planned(stored, known, rows, replaces, now, privacy)
        of_inventory = changes(stored, planned.after)
        listed = [*of_inventory, *invitation_changes(called.before, called.after, self._timezone)]
        for line in show.shown_changes(listed, at_most=self._at_most):
            self._say(line)
        if of_inventory:
            old, new = stored.owners(), planned.after.owners()
            turned = [alias for alias in old.keys() | new.keys() if old.get(alias) != new.get(alias)]
            self._say(show.shown_callers(*await inventory.count_callers(self._pool, turned)))
        for line in show.shown_notes([*planned.notes, *called.notes]):
            self._say(line)
        if not listed:
            self._say("Nothing to do: the inventory is as the files say.")
            return True
        names = sorted({row.place.file for row in rows.rows} | {opened.place.file for opened in rows.calendars})
        detail = {"files": names, "replace": replaces, "changes": [change.recorded() for change in listed]}
        return await self._put_in("inventory import", detail, stored, planned.after, called)

    def _planned(
        self, stored: Inventory, known: Known, rows: Rows, replaces: bool, now: datetime, privacy: Privacy
    ) -> tuple[Plan, Invited]:
        """Raises WrongFiles; what is invited can only be told once the inventory is right."""
        today = now.astimezone(self._timezone).date()
        try:
            planned = plan(stored, replace(rows, problems=()), replaces=replaces, today=today)
        except WrongFiles as error:
            raise WrongFiles([*rows.problems, *error.problems]) from None
        called = invited.plan(
            known, rows, planned.after, replaces=replaces, timezone=self._timezone, now=now, privacy=privacy
        )
        return planned, called

    async def match(self, found: Sequence[Match]) -> bool:
        """Makes callers aliases of their endpoints, after showing what becomes of the past. Raises WrongFiles."""
        stored = await inventory.load(self._pool)
        seen = await inventory.seen(self._pool, (spelling for match in found for spelling in match.spellings()))
        after = matched(stored, found, seen)
        names = {site.code: site.name for site in after.endpoints}
        old = stored.owners()
        new = {alias: code for alias, code in after.owners().items() if alias not in old}
        if not new:
            self._say("Nothing to do: every caller has this endpoint already.")
            return True
        for alias, code in new.items():
            self._say(f"{show.visible(alias)} → {code} {names[code]}")
        await self._store.adopt_timezone()
        effect = await inventory.what_if(self._store, self._pool, stored, after)
        for line in show.shown_effect(effect, at_most=self._at_most):
            self._say(line)
        return await self._put_in("inventory match", {"matches": new}, stored, after)

    async def export(self, out: Path, language: Language, *, force: bool) -> None:
        """Writes the inventory to files, with the invitations to what is not over, but for those that sources tell."""
        held = await inventory.load(self._pool)
        known = await invitations.load(self._pool, (), self._clock())
        of_people = [one for one in known.invitations.values() if one.origin != "source"]
        listed = files.invitations(of_people, self._timezone, language)
        for written in files.write(held, out, language, force=force, invitations=listed):
            self._say(str(written))

    async def list_unmatched(self, *, persons: bool, limit: int | None, as_json: bool) -> None:
        """Tells the callers without an endpoint, the most seen first, each with those it may be."""
        found, total = await self._queue(persons, limit)
        if as_json:
            for caller, likely in found:
                shown = msgspec.to_builtins(caller) | {"likely": msgspec.to_builtins(likely)}
                self._say(json.dumps(shown, ensure_ascii=False))
            return
        for line in show.shown_queue(found, total, self._timezone):
            self._say(line)

    async def write_unmatched(self, out: Path, *, persons: bool, limit: int | None, force: bool) -> None:
        """Writes them to a file, with an empty cell each for the code that a person decides on."""
        found, total = await self._queue(persons, limit)
        files.write_one(files.queue(found, self._timezone), out, "en", force=force)
        self._say(f"{out}: {len(found):,} of {total:,} callers. Fill in codes, then: inventory match --from {out}")

    async def _queue(self, persons: bool, limit: int | None) -> tuple[list[tuple[Unmatched, list[Likely]]], int]:
        stored = await inventory.load(self._pool)
        finder = Finder(stored.units, stored.endpoints)
        retired = {site.code for site in stored.endpoints if site.retired_on is not None}
        callers, total = await inventory.unmatched(self._pool, persons=persons, limit=limit)

        def likely(caller: Unmatched) -> list[Likely]:
            found = [] if caller.personal else finder.likely(caller.identity)
            return [replace(one, name=f"{one.name} (out of service)") if one.code in retired else one for one in found]

        return [(caller, likely(caller)) for caller in callers], total

    async def _put_in(
        self, action: str, detail: dict[str, Any], before: Inventory, after: Inventory, called: Invited | None = None
    ) -> bool:
        if not await agreed(self._consent, "Do it?", self._say):
            return False
        entry = Entry(at=self._clock(), actor=self._actor, action=action, detail=detail)

        async def then(connection: Connection) -> None:
            if called is not None:
                await invitations.change(connection, called.before, called.after, entry)

        callers = await inventory.apply(self._pool, before, after, entry, then)
        await self._store.adopt_timezone()
        derived = await self._store.refresh()
        await self._incidents.refresh()
        counts = (callers, "caller"), (derived.meetings, "meeting"), (derived.days, "day")
        matched_anew, meetings, days = (show.counted(*count) for count in counts)
        self._say(f"Done: {matched_anew} with another endpoint; {meetings} and {days} derived again.")
        return True


@asynccontextmanager
async def working(config: Config, *, clock: Clock, asked: Consent | None = None) -> AsyncIterator[Work]:
    """The work on the configured database, told on stdout by whoever runs the command."""
    at_most = show.SHOWN if sys.stdout.isatty() else None
    async with Database(config.database, config.data_dir) as database:
        yield Work(
            database.pool, config.timezone, clock=clock, actor=operator(), say=click.echo, consent=asked,
            at_most=at_most, privacy=config.privacy,
        )  # fmt: skip
