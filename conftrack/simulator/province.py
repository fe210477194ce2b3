"""The simulated province: today's Phú Thọ with its real communes and wards, and sites that never were.

Units and endpoints depend on nothing but this file and the package of Viet Nam's administrative divisions, so
that codes and aliases are the same in every run, whatever the seed of the world.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import Literal

import msgspec
from vietnam_provinces import ProvinceCode, VietNamDivisionType, Ward

DOMAIN = "vc.phutho.example"

Kind = Literal["hall", "room", "village", "school", "clinic", "police", "desktop"]


class Unit(msgspec.Struct, frozen=True, kw_only=True):
    """A node of the organisation tree."""

    code: str
    name: str
    kind: Literal["province", "department", "commune", "ward"]
    parent: str | None
    #: First day of this unit, ISO; the communes of today exist since the two-level reform.
    valid_from: str = "2025-07-01"


class Endpoint(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A site that joins meetings: a room with a codec, or a desktop client, at one unit."""

    code: str
    name: str
    org: str
    kind: Kind
    seats: int
    carrier: str
    #: The part of the province whose lines fail together.
    area: str
    #: Local hours in which it should be registered, e.g. "07:00-17:30".
    service_hours: str
    #: Normalised spellings; the first is the one it usually shows.
    aliases: tuple[str, ...]
    vendor: str
    contact: str

    @property
    def is_room(self) -> bool:
        return self.kind != "desktop"


class Province(msgspec.Struct, frozen=True, kw_only=True):
    units: tuple[Unit, ...]
    endpoints: tuple[Endpoint, ...]

    def at(self, org: str) -> tuple[Endpoint, ...]:
        """The endpoints of one unit, its main room first."""
        return tuple(endpoint for endpoint in self.endpoints if endpoint.org == org)


_DEPARTMENTS = (
    ("VPUB", "Văn phòng UBND tỉnh"), ("TINHUY", "Văn phòng Tỉnh ủy"), ("HDND", "Văn phòng Đoàn ĐBQH và HĐND tỉnh"),
    ("SNV", "Sở Nội vụ"), ("STP", "Sở Tư pháp"), ("STC", "Sở Tài chính"), ("SCT", "Sở Công Thương"),
    ("SNNMT", "Sở Nông nghiệp và Môi trường"), ("SXD", "Sở Xây dựng"), ("SKHCN", "Sở Khoa học và Công nghệ"),
    ("SGDDT", "Sở Giáo dục và Đào tạo"), ("SYT", "Sở Y tế"), ("SVHTTDL", "Sở Văn hóa, Thể thao và Du lịch"),
    ("SDTTG", "Sở Dân tộc và Tôn giáo"), ("TTT", "Thanh tra tỉnh"), ("CAT", "Công an tỉnh"),
    ("BCHQS", "Bộ Chỉ huy Quân sự tỉnh"), ("BQLKCN", "Ban Quản lý các khu công nghiệp"),
    ("BTC", "Ban Tổ chức Tỉnh ủy"), ("BTGDV", "Ban Tuyên giáo và Dân vận Tỉnh ủy"),
    ("UBKT", "Ủy ban Kiểm tra Tỉnh ủy"), ("MTTQ", "Ủy ban Mặt trận Tổ quốc tỉnh"),
    ("TAND", "Tòa án nhân dân tỉnh"), ("VKSND", "Viện Kiểm sát nhân dân tỉnh"),
    ("THUE", "Thuế tỉnh"), ("BHXH", "Bảo hiểm xã hội tỉnh"), ("KBNN", "Kho bạc Nhà nước khu vực"),
    ("TCT", "Trường Chính trị tỉnh"),
)  # fmt: skip

# What a commune has: kind, how the site is called, seats, hours. Villages come on top of it.
_COMMUNE_SITES: tuple[tuple[Kind, str, int, str], ...] = (
    ("hall", "Hội trường UBND {unit}", 120, "07:00-17:30"),
    ("room", "Phòng họp trực tuyến {unit}", 30, "07:00-17:30"),
    ("room", "Phòng họp Đảng ủy {unit}", 24, "07:00-17:30"),
    ("desktop", "Máy trạm Chủ tịch UBND {unit}", 1, "07:00-17:30"),
    ("police", "Công an {unit}", 18, "00:00-24:00"),
    ("clinic", "Trạm Y tế {unit}", 15, "00:00-24:00"),
    ("school", "Trường THCS {place}", 45, "07:00-17:00"),
    ("school", "Trường Tiểu học {place}", 40, "07:00-17:00"),
    ("school", "Trường Mầm non {place}", 25, "07:00-17:00"),
)

_CODECS = ("Cisco Webex Room Kit/ce11.9", "Poly Studio X50/4.1.0", "Polycom HDX 7000/3.1.14",
           "Yealink MeetingBar A20/133.15", "LifeSize Icon 450/LS_RM3", "TANDBERG C20/TC7.3.21")  # fmt: skip
_DESKTOP_CLIENT = "Acano/desktop sip client 3.2"
_CARRIERS = ("TSLCD", "VNPT", "Viettel")


def fold(text: str) -> str:
    """Vietnamese text in plain capital ASCII letters and digits, for codes.

    >>> fold("Xã Đồng Lương")
    'XADONGLUONG'
    """
    bare = unicodedata.normalize("NFD", text.replace("đ", "d").replace("Đ", "D"))
    return "".join(char for char in bare.upper() if char.isascii() and char.isalnum())


@lru_cache(maxsize=1)
def phu_tho() -> Province:
    """The province: one unit for itself, its departments, its 148 communes and wards, and 3,000 endpoints."""
    root = Unit(code="PT", name="Tỉnh Phú Thọ", kind="province", parent=None, valid_from="1997-01-01")
    units = [root]
    sites = _Sites()
    for short, name in _DEPARTMENTS:
        unit = Unit(code=f"PT-{short}", name=name, kind="department", parent=root.code, valid_from="2025-03-01")
        units.append(unit)
        sites.department(unit)
    for index, ward in enumerate(Ward.iter_by_province(ProvinceCode.P_25)):
        place = ward.name.split(" ", 1)[1]
        is_ward = ward.division_type is VietNamDivisionType.PHUONG
        unit = Unit(
            code=f"PT-{'P' if is_ward else 'XA'}-{fold(place)}",
            name=ward.name,
            kind="ward" if is_ward else "commune",
            parent=root.code,
        )
        units.append(unit)
        sites.commune(unit, place, index)
    return Province(units=tuple(units), endpoints=tuple(sites.made))


def _area(index: int) -> str:
    """The lines follow the three provinces that were merged, in stretches of a dozen communes."""
    for name, first, last in (("Phú Thọ", 0, 66), ("Vĩnh Phúc", 66, 102), ("Hòa Bình", 102, 148)):
        if first <= index < last:
            return f"{name} {(index - first) // 12 + 1}"
    return "Việt Trì"


class _Sites:
    def __init__(self) -> None:
        self.made: list[Endpoint] = []
        self._of_unit: dict[str, int] = {}

    def department(self, unit: Unit) -> None:
        self._add(unit, "hall", f"Hội trường {unit.name}", 100, "07:00-17:30", area="Việt Trì")
        self._add(unit, "room", f"Phòng họp giao ban {unit.name}", 30, "07:00-17:30", area="Việt Trì")
        for number in range(1, 7):
            self._add(unit, "desktop", f"Máy trạm {number} {unit.name}", 1, "07:00-17:30", area="Việt Trì")

    def commune(self, unit: Unit, place: str, index: int) -> None:
        area = _area(index)
        called = unit.name[0].lower() + unit.name[1:]
        for kind, name, seats, hours in _COMMUNE_SITES:
            self._add(unit, kind, name.format(unit=called, place=place), seats, hours, area=area)
        word = "tổ dân phố" if unit.kind == "ward" else "thôn"
        for number in range(1, 10 + index % 6):
            name = f"Nhà văn hóa {word} {number} {called}"
            self._add(unit, "village", name, 40 + 5 * (number % 5), "07:00-21:30", area=area)

    def _add(self, unit: Unit, kind: Kind, name: str, seats: int, hours: str, *, area: str) -> None:
        serial = len(self.made)
        number = self._of_unit[unit.code] = self._of_unit.get(unit.code, 0) + 1
        code = f"{unit.code}-{number:02d}"
        sip, h323, e164 = f"{code.lower()}@{DOMAIN}", code.lower(), f"2103{serial:06d}"
        if kind == "desktop":
            aliases: tuple[str, ...] = (sip, e164)
        else:
            ip = f"10.{64 + serial // 60_000}.{serial // 240 % 250}.{serial % 240 + 10}"
            # Every third room is an old H.323 codec and shows its H.323 id rather than a URI.
            aliases = (h323, e164, sip, ip) if serial % 3 == 2 else (sip, h323, e164, ip)
        # The state network reaches offices and halls; the rest is on the two public carriers.
        carrier = _CARRIERS[0] if number <= 3 else _CARRIERS[1 + (serial + number) % 2]
        self.made.append(
            Endpoint(
                code=code,
                name=name,
                org=unit.code,
                kind=kind,
                seats=seats + serial % 7 if seats > 1 else 1,
                carrier=carrier,
                area=area,
                service_hours=hours,
                aliases=aliases,
                vendor=_DESKTOP_CLIENT if kind == "desktop" else _CODECS[(serial * 7 + number) % len(_CODECS)],
                contact=f"0210 3{serial // 1000:03d} {serial % 1000:03d}",
            )
        )
