"""Which endpoints a caller is likened to: by whatever it is called, and never by a guess where there is no likeness."""

from __future__ import annotations

import pytest

from conftrack.inventory.names import Finder, fold, plain
from conftrack.model import Endpoint, OrgUnit
from conftrack.simulator.province import phu_tho


@pytest.fixture(scope="module")
def province() -> Finder:
    """177 real units and 3,254 endpoints, many of one name but for the place."""
    made = phu_tho()
    return Finder(
        [OrgUnit(code=unit.code, name=unit.name) for unit in made.units],
        [Endpoint(code=e.code, name=e.name, org=e.org, seats=e.seats, aliases=e.aliases) for e in made.endpoints],
    )


@pytest.mark.parametrize(
    ("caller", "code"),
    [
        ("ubnd xa dong luong", "PT-XA-DONGLUONG-01"),
        ("UBND X. Đồng Lương", "PT-XA-DONGLUONG-01"),
        ("Ủy ban nhân dân xã Đồng Lương", "PT-XA-DONGLUONG-01"),
        ("hoitruong.ubnd.dongluong@cau.example", "PT-XA-DONGLUONG-01"),
        ("xadongluong@cau.example", "PT-XA-DONGLUONG-01"),
        ("xã Yên Kì", "PT-XA-YENKY-01"),
        ("phường Hoà Bình", "PT-P-HOABINH-01"),
        ("P. Việt Trì", "PT-P-VIETTRI-01"),
        ("xã lạc luơng", "PT-XA-LACLUONG-01"),
        ("congan.xalacluong@cau.example", "PT-XA-LACLUONG-05"),
        ("Trạm y tế x.Cao Sơn", "PT-XA-CAOSON-06"),
        ("NVH thôn 4 xã Đồng Lương", "PT-XA-DONGLUONG-13"),
        ("nhà văn hoá thôn 9 đồng lương", "PT-XA-DONGLUONG-18"),
        ("so y te", "PT-SYT-01"),
        ("snv", "PT-SNV-01"),
        ("pt-xa-dongluong-03@moi.example", "PT-XA-DONGLUONG-03"),
    ],
)
def test_a_caller_is_likened_to_the_site_that_a_reader_would_name(caller: str, code: str, province: Finder) -> None:
    """Diacritics, spelling, capitals, abbreviations and blanks do not matter; of a unit alone, its largest room."""
    likely = province.likely(caller)

    assert likely[0].code == code, likely
    assert likely == sorted(likely, key=lambda one: -one.score)


@pytest.mark.parametrize("caller", ["10.1.2.3", "100", "+842103846647", "polycom hdx", "sipvicious", "test", "@", ""])
def test_what_names_nobody_is_likened_to_nobody(caller: str, province: Finder) -> None:
    """Scanners, bare numbers and devices get no proposal that somebody might click through."""
    assert province.likely(caller) == []


def test_another_number_is_another_room(province: Finder) -> None:
    """Thôn 4 comes before thôn 14 and thôn 40 for whoever says 4."""
    assert [one.code[-2:] for one in province.likely("nhà văn hóa thôn 1 xã Đồng Lương")][:1] == ["10"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Xã Hoà Bình", "xã Hòa Bình"),
        ("Đồng Lương", "DONG LUONG"),
        ("Mỹ Lý", "Mĩ Lí"),
        ("Hội trường Ủy ban nhân dân", "HT. UBND"),
        ("P.Nông Trang", "phường Nông Trang"),
        ("Phòng2", "phòng 2"),
        ("Xa\u0303 Ta\u0302n An", "Xã Tân An"),
    ],
)
def test_spellings_of_one_name_are_one(one: str, other: str) -> None:
    """Also where a keyboard composes its letters from parts."""
    assert plain(one) == plain(other)


def test_headings_are_known_without_their_signs() -> None:
    assert fold(" Số_chỗ (ngồi)") == "so cho ngoi"
