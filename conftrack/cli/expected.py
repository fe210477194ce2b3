"""`expected`."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import click

from conftrack.cli.starting import now, read_config, run_to_end
from conftrack.errors import ConftrackError
from conftrack.incidents.rollcall import MARKS, Answer, call
from conftrack.inventory.asking import operator
from conftrack.inventory.show import counted, visible
from conftrack.storage import invitations, rollcall
from conftrack.storage.database import Connection, Database


@click.group()
def expected() -> None:
    """Who is expected at today's meetings, who is there, and who may stay away.

    Invitations come from `conftrack inventory import`."""


@expected.command("list")
@click.option(
    "--day", type=click.DateTime(["%Y-%m-%d"]), help="Meetings of this day, by local time [today].", metavar="DAY"
)
@click.pass_obj
def expected_list(path: Path | None, day: datetime | None) -> None:
    """Lists the day's meetings with how many are expected at each."""
    config = read_config(path)
    midnight = now().astimezone(config.timezone) if day is None else day.replace(tzinfo=config.timezone)
    midnight = midnight.replace(hour=0, minute=0, second=0, microsecond=0)

    async def work() -> int:
        async with Database(config.database, config.data_dir) as database, database.pool.acquire() as connection:
            found = await invitations.gatherings(connection, midnight, midnight + timedelta(days=1))
        for one in found:
            start = one.starts_at.astimezone(config.timezone)
            counts = f"{one.come} of {one.expected} came" if one.meeting_ids else f"{one.expected} expected"
            excused = f", {one.excused} excused" if one.excused else ""
            title = visible(one.title or one.room)
            click.echo(f"{start:%H:%M}  {visible(one.uid)}  {title}: {counts}{excused}")
        if not found:
            click.echo("Nobody is invited to anything on this day.")
        return 0

    run_to_end(work())


@expected.command("call")
@click.argument("uid")
@click.pass_obj
def expected_call(path: Path | None, uid: str) -> None:
    """Calls the roll of the meeting with this UID, as `expected list` shows it.

    What was not seen is unknown, never absent."""
    config = read_config(path)

    async def work() -> int:
        async with Database(config.database, config.data_dir) as database, database.pool.acquire() as connection:
            invitation_id = await _find(connection, uid)
            meeting = await rollcall.load(connection, invitation_id=invitation_id)
        if meeting is None:
            raise ConftrackError(f"{uid} is to every meeting of its room, and there is none to call the roll of")
        roll = call(meeting, now())
        start = meeting.starts_at.astimezone(config.timezone)
        counts = ", ".join(
            f"{roll.count(state)} {state}"
            for state in ("present", "testing", "absent", "excused", "unknown")
            if roll.count(state)
        )
        tested = "; a test was held before" if roll.tested else ""
        click.echo(f"{visible(meeting.title or meeting.room)}, {start:%Y-%m-%d %H:%M}: {counts}{tested}")
        for answer in roll.answers:
            click.echo(f"  {_line(answer)}")
        return 0

    run_to_end(work())


def _line(answer: Answer) -> str:
    guest = answer.guest
    words: list[str] = [answer.now]
    if answer.now == "excused":
        words.append(visible(guest.excused_reason or ""))
    if answer.late_by:
        words.append(f"{counted(round(answer.late_by.total_seconds() / 60) or 1, 'minute')} late")
    if answer.tested is not None:
        words.append(f"test: {answer.tested.result}")
    if answer.failed_untested:
        words.append("was not in the test")
    marks = " ".join(
        f"{'T' if not mark else f'T{round(mark.total_seconds() / 60):+d}'} {state}"
        for mark, state in zip(MARKS, answer.marks, strict=True)
        if state is not None
    )
    return f"{guest.code} {visible(guest.name)}: {', '.join(words)}" + (f" ({marks})" if marks else "")


@expected.command("excuse")
@click.argument("uid")
@click.argument("endpoint")
@click.option("--reason", help="Why it may stay away.")
@click.option("--revoke", is_flag=True, help="Take the excuse back.")
@click.pass_obj
def expected_excuse(path: Path | None, uid: str, endpoint: str, reason: str | None, revoke: bool) -> None:
    """Lets an ENDPOINT (its code) stay away from the meeting with this UID.

    Of a standing invitation it is every meeting of the room."""
    if (reason is None or not reason.strip()) is not revoke:
        raise click.UsageError("give a --reason, or --revoke")
    config = read_config(path)

    async def work() -> int:
        async with Database(config.database, config.data_dir) as database, database.pool.acquire() as connection:
            invitation_id = await _find(connection, uid)
            async with connection.transaction():
                await invitations.excuse(
                    connection, invitation_id, endpoint, reason.strip() if reason else None, operator(), now()
                )
        click.echo(f"{endpoint} is {'expected again' if revoke else 'excused'}.")
        return 0

    run_to_end(work())


async def _find(connection: Connection, uid: str) -> int:
    found = await invitations.number(connection, uid)
    if found is None:
        raise ConftrackError(f"there is no invitation {uid}; `conftrack expected list` shows those of a day")
    return found
