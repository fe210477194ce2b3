"""Names that people type when they join with a browser, and the words a bridge says when a call ends."""

from __future__ import annotations

from functools import lru_cache
from random import Random

from conftrack.model import EndClass

_FAMILY = ("Nguyễn", "Trần", "Lê", "Phạm", "Hoàng", "Phan", "Vũ", "Đặng", "Bùi", "Đỗ", "Hồ", "Ngô", "Dương", "Lý", "Hà",
           "Đinh", "Quách", "Bạch", "Xa")  # fmt: skip
_MIDDLE = ("Văn", "Thị", "Đức", "Thu", "Minh", "Quang", "Hữu", "Ngọc", "Thanh", "Xuân", "Kim", "Mạnh")
_GIVEN = ("An", "Bình", "Chi", "Dũng", "Giang", "Hà", "Hải", "Hạnh", "Hiếu", "Hoa", "Hùng", "Hương", "Khánh", "Lan",
          "Linh", "Long", "Mai", "Nam", "Nga", "Phong", "Phúc", "Quân", "Sơn", "Tâm", "Thảo", "Thắng", "Trang", "Tuấn",
          "Tùng", "Vân", "Yến")  # fmt: skip
_SHAPES = ("{full}", "{full}", "{full} - {short}", "{short} {given}", "{given} {family}", "iPhone của {given} {family}")
_OFFICES = ("Sở Y tế", "SNV", "VP UBND", "xã Tam Đảo", "THCS Lâm Thao", "Cao Phong", "P. Việt Trì", "TTYT Yên Lập")

REASONS: dict[EndClass, tuple[str, ...]] = {
    "left": ("Call disconnected", "Call disconnected", "Call disconnected", "User initiated disconnect"),
    "ended": ("Conference terminated by a Host participant #pex121",
              "Conference terminated by an administrator #pex122",
              "Conference terminated by a Host participant using DTMF #pex120"),
    "moved": ("Call transferred",),
    "dropped": ("Connection timed out", "Connection timed out", "ICE failure", "Backend error"),
    "no_answer": ("No answer", "Call timed out waiting for answer", "408 Request Timeout", "Call disconnected"),
    "unreachable": ("Call failed", "Call failed", "404 Not Found", "Destination unreachable"),
    "busy": ("486 Busy Here", "Remote endpoint busy"),
    "declined": ("Call rejected", "603 Decline"),
    "negotiation": ("488 Not Acceptable Here", "Encryption required by the far end"),
    "capacity": ("License unavailable", "503 Service Unavailable"),
    "auth": ("Invalid PIN", "Authentication failed", "Timed out waiting for a Host in a locked conference #pex126"),
    "noise": ("Call failed",),
    "unknown": ("Remote side reported condition 0x2f",),
}  # fmt: skip
"""What Pexip writes for each end class, one vocabulary of the vendor's own texts and of texts from the far end
(Pexip: "Participant disconnection reasons"). A `no_answer` that reads like a normal hang-up is meant: real systems
log normal clearing on attempts that failed."""

BROWSER_LOST = "Timer expired awaiting token refresh"
"""How a browser that lost its network leaves."""

_FAILURES: tuple[EndClass, ...] = ("no_answer", "unreachable", "busy", "declined", "negotiation", "capacity")


def failure(rng: Random) -> EndClass:
    """Why an outgoing call did not connect."""
    return rng.choices(_FAILURES, (35, 30, 12, 5, 10, 8))[0]


def reason(rng: Random, end_class: EndClass) -> str:
    """One of the texts for an end class."""
    texts = REASONS[end_class]
    return texts[int(rng.random() * len(texts))]


@lru_cache(maxsize=1)
def typed_names() -> tuple[str, ...]:
    """Some 1,500 names, no two of them equal when case is ignored."""
    rng = Random("typed names")
    names: dict[str, str] = {}
    while len(names) < 1500:
        family, given, office = rng.choice(_FAMILY), rng.choice(_GIVEN), rng.choice(_OFFICES)
        name = rng.choice(_SHAPES).format(
            full=f"{family} {rng.choice(_MIDDLE)} {given}", family=family, given=given, short=office
        )
        names.setdefault(name.casefold(), name)
    return tuple(names.values())
