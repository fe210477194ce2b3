"""One spelling for one address."""

from __future__ import annotations

import unicodedata

import pytest

from conftrack.sources.base import is_address, normalise_alias


@pytest.mark.parametrize(
    ("written", "alias"),
    [
        ("SIP:Xa-A@VC.Tinh.Example:5061;transport=tls", "xa-a@vc.tinh.example"),
        ("sips:xa-a@vc.tinh.example", "xa-a@vc.tinh.example"),
        ("<sip:xa-a@vc.tinh.example?subject=x>", "xa-a@vc.tinh.example"),
        ("h323:xa-a@vc.tinh.example.", "xa-a@vc.tinh.example"),
        ("  xa-a@vc.tinh.example ", "xa-a@vc.tinh.example"),
        ("xa-a@other.example", "xa-a@other.example"),  # another domain is another address
        ("tel:+84 210 384 6647", "+842103846647"),
        ("0210.384.6647", "02103846647"),
        ("10.1.2.3:1720", "10.1.2.3"),
        ("h323:10.1.2.3", "10.1.2.3"),
        ("[2001:DB8::1]:5060", "[2001:db8::1]"),
        ("Xã  TÂN an", "xã tân an"),
        (unicodedata.normalize("NFD", "Hội trường"), "hội trường"),
        ("H\u00f4\u0323i tr\u01b0\u01a1\u0300ng", "hội trường"),  # the tone apart, as Windows' own keyboard types it
        ("Xã Tân An .", "xã tân an"),
        ("sip:", None),
        (" ", None),
    ],
)
def test_scheme_case_port_blanks_and_accents_do_not_matter(written: str, alias: str | None) -> None:
    assert normalise_alias(written) == (unicodedata.normalize("NFC", alias) if alias else None)


@pytest.mark.parametrize(
    ("identity", "address"),
    [
        ("xa-a@vc.example", True),
        ("+842103846647", True),
        ("10.1.2.3", True),
        ("2001:db8::1", True),
        ("lê văn tám", False),
    ],
)
def test_what_a_machine_dials_is_told_from_a_name(identity: str, address: bool) -> None:
    assert is_address(identity) is address
