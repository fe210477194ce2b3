"""Callers that a person has told the endpoint of: what the inventory would be with them. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence

from msgspec.structs import replace

from conftrack.inventory.checks import hint
from conftrack.inventory.headings import Rows
from conftrack.inventory.tables import Place, Problem, WrongFiles, hidden_character
from conftrack.model import Record
from conftrack.sources.base import normalise_alias
from conftrack.storage.inventory import Inventory


class Match(Record, frozen=True):
    """A caller, as somebody wrote it, and the code of its endpoint, with where the two stand."""

    caller: str
    code: str
    at: tuple[Place, Place] = (Place(file="CALLER"), Place(file="CODE"))

    def spellings(self) -> list[str]:
        """The identities that may be meant: as written, and as callers are kept."""
        return list(dict.fromkeys(one for one in (self.caller, normalise_alias(self.caller)) if one))


def matches(rows: Rows) -> list[Match]:
    """What a list of callers says; those without a code are still undecided. Raises WrongFiles."""
    if rows.problems:
        raise WrongFiles(rows.problems)
    return [
        Match(caller=row.values["caller"], code=code, at=(row.at("caller"), row.at("code")))
        for row in sorted(rows.rows, key=lambda row: row.place)
        if (code := row.values.get("code")) is not None
    ]


def matched(stored: Inventory, found: Sequence[Match], seen: Collection[str]) -> Inventory:
    """The inventory in which each caller is an alias of its endpoint; `seen` are the identities that have called.

    Raises WrongFiles for a caller that nobody has seen or that is another endpoint's, and for a code that is not there.
    """
    problems: list[Problem] = []
    sites = {site.code: site for site in stored.endpoints}
    owners = stored.owners()
    new: dict[str, str] = {}
    for match in found:
        at_caller, at_code = match.at
        identity = next((one for one in match.spellings() if one in seen), None)
        if match.code not in sites:
            message = f"there is no endpoint {match.code!r}{hint(match.code, stored.endpoints)}"
            problems.append(Problem(place=at_code, message=message))
        if identity is None:
            message = (
                f"nobody has called as {match.caller!r} yet; `conftrack inventory unmatched` lists who has, and "
                "`conftrack inventory import` takes in addresses before they call"
            )
            problems.append(Problem(place=at_caller, message=message))
        elif hidden := hidden_character(identity):
            problems.append(Problem(place=at_caller, message=f"holds the invisible character {hidden}"))
        elif (owner := owners.get(identity, match.code)) != match.code:
            message = (
                f"{identity} is an alias of {owner} ({sites[owner].name}): match takes nothing away from another "
                "endpoint; to move it, import a list of aliases"
            )
            problems.append(Problem(place=at_caller, message=message))
        elif new.setdefault(identity, match.code) != match.code:
            problems.append(Problem(place=at_caller, message=f"{identity} is given to {new[identity]} before"))
    if problems:
        raise WrongFiles(problems)
    added: defaultdict[str, set[str]] = defaultdict(set)
    for identity, code in new.items():
        if identity not in owners:
            added[code].add(identity)
    return Inventory.of(
        stored.units,
        (replace(site, aliases=tuple(sorted({*site.aliases, *added[site.code]}))) for site in stored.endpoints),
    )
