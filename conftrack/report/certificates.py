"""How complete the reading of each source was, from the facts of a month. Pure, like the figures."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime, timedelta

from conftrack.incidents.engine import Span
from conftrack.report.model import Certificate
from conftrack.storage.reports import Facts


def certificates(facts: Facts, configured: Collection[str], made_at: datetime) -> Iterator[Certificate]:
    """Of every source of the month, in order of their names; a configured one that was never read is in no fact."""
    last = min(facts.ends_at, made_at)
    read = {one.source: one for one in facts.sources}
    # One that is configured no more is of the months in which it was read or told of meetings.
    told = {meeting.source for meeting in facts.meetings}
    told |= {name for name, one in read.items() if one.seen_until is not None and one.seen_until > facts.begins_at}
    for name in sorted({*told, *configured}):
        one = read.get(name)
        if one is None:
            yield Certificate(
                source=name, polls=0, failed_polls=0, source_total=None, stored_total=None, windows=0, short_windows=0,
                rejected=0, unseen_seconds=max(0.0, (last - facts.begins_at).total_seconds()), read_until=None,
                ever_read=False,
            )  # fmt: skip
            continue
        gaps = [(gap.since, gap.until or last) for gap in facts.unseen if gap.source == name]
        gaps.append((facts.begins_at, facts.first_meeting or last))  # nobody looked before
        yield Certificate(
            source=name, polls=one.polls, failed_polls=one.failed_polls, source_total=one.source_total,
            stored_total=one.stored_total, windows=one.windows, short_windows=one.short_windows, rejected=one.rejected,
            unseen_seconds=_covered(gaps, facts.begins_at, last),
            read_until=one.seen_until if one.seen_until is not None and one.seen_until < facts.ends_at else None,
            ever_read=one.seen_until is not None,
        )  # fmt: skip


def _covered(spans: Iterable[Span], since: datetime, until: datetime) -> float:
    """The seconds of [since, until) that are in any of the spans."""
    total, reached = timedelta(), since
    for begins, ends in sorted(spans):
        begins, ends = max(begins, reached), min(ends, until)
        if begins < ends:
            total += ends - begins
            reached = ends
    return total.total_seconds()
