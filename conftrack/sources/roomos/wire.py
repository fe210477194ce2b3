"""What RoomOS says and is told, in XML.

Cisco's own schema (github.com/cisco-ce/roomos.cisco.com, schemas/26.4.1) has the values, its guide "Using xAPI over
HTTP" (doc/TechDocs/HttpApi.md there) getxml and putxml, the API reference guides of CE 8 and 9 HttpFeedback.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element, ParseError, SubElement, tostring

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

ANALYTICS = "/Status/RoomAnalytics"
FEEDBACK = "/Status/HttpFeedback"
PEOPLE = "/Status/RoomAnalytics/PeopleCount"
XML = "text/xml"
#: PeopleCount Current where the device cannot tell: in standby, or with the feature off.
UNKNOWN = -1
#: No room has more; a device that says so is wrong.
MOST = 9999


class Unreadable(ValueError):
    """This is not XML, or not all of it came."""


class Nonsense(ValueError):
    """It is XML, and says what no device can mean."""


def parse(body: bytes) -> Element:
    """The root of a document. Raises Unreadable, for entities and external references too."""
    try:
        root: Element = fromstring(body)
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise Unreadable(f"XML that cannot be read ({type(error).__name__})") from None
    return root


def status(body: bytes) -> Element:
    """The root of an answer to getxml. Raises Unreadable for anything else, such as a login page."""
    root = parse(body)
    if root.tag not in ("Status", "EmptyResult"):
        raise Unreadable(f"<{root.tag[:20]}> instead of a status")
    return root


def people(root: Element) -> int | None:
    """How many people the device sees; None: it does not know, or does not say. Zero is a number.

    PeoplePresence and RoomInUse say nothing about it: the first goes to No up to two minutes late, the second may be
    True for an empty room. Raises Nonsense.
    """
    text = root.findtext("RoomAnalytics/PeopleCount/Current")
    if text is None:
        return None
    try:
        count = int(text)
    except ValueError:
        raise Nonsense(f"PeopleCount Current is {text[:20]!r}") from None
    if not UNKNOWN <= count <= MOST:
        raise Nonsense(f"PeopleCount Current is {count}")
    return None if count == UNKNOWN else count


def excerpt(root: Element) -> str:
    """The count alone, as the device says it: the rest of its analytics is another every time."""
    status = Element("Status")
    count = SubElement(SubElement(SubElement(status, "RoomAnalytics"), "PeopleCount"), "Current")
    count.text = root.findtext("RoomAnalytics/PeopleCount/Current")
    return tostring(status, encoding="unicode")


def url_of_slot(root: Element, slot: int) -> str | None:
    """Where the feedback of a slot goes; None: nowhere."""
    for found in root.iterfind("HttpFeedback"):
        if found.get("item") == str(slot):
            return found.findtext("URL") or None
    return None


def register(slot: int, url: str) -> bytes:
    """The command that makes a device post its count to `url` whenever it changes."""
    command = Element("Command")
    said = SubElement(SubElement(command, "HttpFeedback"), "Register", command="True")
    for name, value in (("FeedbackSlot", str(slot)), ("Format", "XML"), ("ServerUrl", url)):
        SubElement(said, name).text = value
    SubElement(said, "Expression", item="1").text = PEOPLE
    return tostring(command)


def refused(body: bytes) -> str | None:
    """Why a device did not register; None: it did."""
    result = parse(body).find("HttpFeedbackRegisterResult")
    if result is not None and result.get("status") == "OK":
        return None
    return "no result" if result is None else result.findtext("Reason") or result.findtext("Description") or "no reason"
