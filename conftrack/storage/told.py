"""Who belongs to which room, as a source tells: standing invitations of its own.

An invitation that was told keeps the meetings that began under it: who is told of later is expected from then on, and
who is told of no more was expected until then.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import date, datetime

import msgspec

from conftrack.model import Invited
from conftrack.privacy import Privacy
from conftrack.storage.database import Connection
from conftrack.storage.queries import query


async def take(
    connection: Connection, source_id: int, source: str, told: Iterable[Invited], privacy: Privacy, *, today: date,
    now: datetime,
) -> list[str]:  # fmt: skip
    """Makes what stands of a source what it tells now, within the caller's transaction; the rooms that are otherwise
    by it. Addresses that no endpoint in service has are left out."""
    await connection.execute(query("lock_inventory"))
    told = list(told)
    addresses = sorted({address for one in told for address in one.addresses})
    owners = {row["alias"]: row["code"] for row in await connection.fetch(query("list_serving"), addresses, today)}
    wanted: defaultdict[str, set[str]] = defaultdict(set)
    for one in told:
        wanted[privacy.room(one.room)] |= {owners[address] for address in one.addresses if address in owners}
    stands = {row["room"]: set(row["codes"]) for row in await connection.fetch(query("list_told"), source_id)}
    others = sorted(room for room in wanted.keys() | stands.keys() if wanted[room] != stands.get(room, set()))
    if not others:
        return []
    uids = {room: f"source:{source}/{room}@{now:%Y-%m-%dT%H:%M:%SZ}" for room in others if wanted[room]}
    expected = [(uid, code) for room, uid in uids.items() for code in sorted(wanted[room])]
    await connection.execute(query("lock_incidents"))  # no meeting is put on one of these invitations meanwhile
    gone = [row["invitation_id"] for row in await connection.fetch(query("withdraw_told"), source_id, others, now)]
    sensitive = [privacy.hushes_room(room) for room in uids]
    await connection.execute(query("put_told"), source_id, list(uids), list(uids.values()), sensitive, now)
    await connection.execute(
        query("put_told_expected"), [uid for uid, _ in expected], [code for _, code in expected], gone
    )
    await connection.execute(query("drop_unused"), gone)
    await connection.execute(query("mark_invitation"), list(uids.values()))
    changes = [
        {
            "meeting": uids.get(room), "room": room, "invited": sorted(wanted[room] - stands.get(room, set())),
            "not invited any more": sorted(stands.get(room, set()) - wanted[room]),
        }
        for room in others
    ]  # fmt: skip
    detail = msgspec.json.encode({"changes": changes}).decode()
    await connection.execute(query("keep_audit"), now, f"source {source}", "invited", detail)
    return others
