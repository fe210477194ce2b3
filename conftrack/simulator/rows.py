"""The world's plan in the vendor's words: one function for each kind of row that the Pexip management API gives.

Names, units and oddities follow Pexip's pages "Management history API", "Management status API" and "Management
configuration API": times are UTC without a suffix and lose their fraction when it is zero, rates are kbit/s, loss is
percent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from zlib import crc32

from conftrack.simulator.plan import MINUTE, SECOND, Conference, Leg
from conftrack.simulator.province import DOMAIN, Endpoint

HISTORY = "/api/admin/history/v1"
STATUS = "/api/admin/status/v1"
CONFIGURATION = "/api/admin/configuration/v1"

NODES = ("10.60.1.11", "10.60.1.12", "10.60.1.13")
LOCATION = "Trung tâm dữ liệu tỉnh"

Row = dict[str, Any]

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - the API writes UTC times without saying so


def text_time(at: int) -> str:
    """Microseconds since 1970 as the API writes a time."""
    return (_EPOCH + timedelta(microseconds=at)).isoformat()


def chance(salt: str, name: str) -> float:
    """A number in [0, 1) that belongs to a name: the same in every process."""
    return crc32(f"{salt}/{name}".encode()) / 2**32


# History


def conference(row: Conference) -> Row:
    return {
        "direct_media_available": False,
        "duration": (row.end - row.start) // SECOND,
        "end_time": text_time(row.end),
        "id": row.id,
        "instant_message_count": 0,
        "name": row.name,
        "participant_count": len(row.legs),
        "participants": [f"{HISTORY}/participant/{leg.id}/" for leg in row.legs],
        "resource_uri": f"{HISTORY}/conference/{row.id}/",
        "service_type": row.service_type,
        "start_time": text_time(row.start),
        "tag": row.tag,
    }


def participant(leg: Leg, row: Conference, *, linked: bool, early: bool = False, whole: bool = False) -> Row:
    """A leg that ended. `linked` says whether its conference has ended too; before, the link is null.

    `early` gives the first version of a row that is corrected later: it starts late, and its quality is not known.
    `whole` adds what only the row's own page has.
    """
    joined = leg.joined
    if early and joined is not None:
        joined += (leg.left - joined) // 3
    seconds = 0 if joined is None else (leg.left - joined) // SECOND
    windows = _windows(leg, seconds)
    bandwidth = 0 if joined is None else 4128 if leg.protocol == "SIP" else 2112
    node = NODES[row.node]
    made: Row = {
        "av_id": leg.id if joined is not None else "",
        "bandwidth": bandwidth,
        "bucketed_call_quality": windows,
        "call_direction": leg.direction,
        "call_quality": "0_unknown" if early else _quality(windows),
        "call_tag": "",
        "call_uuid": leg.call,
        "conference": f"{HISTORY}/conference/{row.id}/" if linked else None,
        "conference_name": row.name,
        "conversation_id": leg.call,
        "disconnect_reason": leg.reason,
        "display_name": leg.name,
        "duration": seconds,
        "encryption": "On" if leg.protocol != "H323" else "Off",
        "end_time": text_time(leg.left),
        "has_media": _has_media(leg),
        "id": leg.id,
        "idp_uuid": "",
        "is_direct": False,
        "is_idp_authenticated": False,
        "is_streaming": leg.excluded == "streaming",
        "license_count": int(_has_media(leg)),
        "license_type": "port" if _has_media(leg) else "nolicense",
        "local_alias": room_alias(row.name),
        "media_node": node,
        "parent_id": "",
        "presentation_id": "",
        "protocol": leg.protocol,
        "proxy_node": ("None", None, "")[len(leg.shown) % 3],
        "remote_address": address(leg),
        "remote_alias": leg.shown,
        "remote_port": 5061 if leg.protocol == "SIP" else 0,
        "resource_uri": f"{HISTORY}/participant/{leg.id}/",
        "role": leg.role,
        "rx_bandwidth": bandwidth,
        "service_tag": row.tag,
        "service_type": leg.service_type,
        "signalling_node": node,
        "start_time": None if joined is None else text_time(joined),
        "system_location": LOCATION,
        "transcoding_enabled": True,
        "tx_bandwidth": bandwidth,
        "vendor": leg.vendor,
    }
    # Not every version and not every row has the streams inline, and some have a text in their place.
    shape = int(leg.id[:2], 16)
    if shape >= 16 or whole:
        made["media_streams"] = [] if joined is None else history_streams(leg, node)
    elif shape >= 8:
        made["media_streams"] = f"{HISTORY}/participant/{leg.id}/media_stream/"
    if whole:
        made["historic_call_quality"] = [level for level, number in enumerate(windows) for _ in range(number)]
    return made


def history_streams(leg: Leg, node: str = NODES[0]) -> list[Row]:
    return [
        {
            "end_time": text_time(leg.left),
            "id": serial,
            "node": node,
            "participant": f"{HISTORY}/participant/{leg.id}/",
            "resource_uri": f"{HISTORY}/media_stream/{serial}/",
            "start_time": text_time(leg.joined or leg.left),
            "stream_id": str(index),
            "stream_type": kind,
            **figures,
        }
        for index, (kind, serial, figures) in enumerate(_streams(leg, leg.left, leg.rx_loss, leg.tx_loss))
    ]


def backplane(main: Conference, other: Conference) -> Row:
    """The link between two nodes that hold one meeting."""
    key = f"{main.id[:8]}-{other.id[9:]}"
    return {
        "conference": f"{HISTORY}/conference/{main.id}/",
        "conference_name": main.name,
        "disconnect_reason": "Call disconnected",
        "duration": (other.end - other.start) // SECOND,
        "end_time": text_time(other.end),
        "id": key,
        "media_node": NODES[main.node],
        "media_streams": [],
        "protocol": "WebRTC",
        "proxy_node": "None",
        "remote_conference_name": other.name,
        "remote_media_node": NODES[other.node],
        "remote_node_name": f"conf{other.node + 1}",
        "resource_uri": f"{HISTORY}/backplane/{key}/",
        "service_tag": main.tag,
        "start_time": text_time(other.start),
        "system_location": LOCATION,
        "type": "local",
    }


# Status


def live_conference(row: Conference) -> Row:
    return {
        "direct_media_available": False,
        "guests_muted": False,
        "id": row.id,
        "is_locked": False,
        "is_started": True,
        "name": row.name,
        "resource_uri": f"{STATUS}/conference/{row.id}/",
        "service_type": row.service_type,
        "start_time": text_time(row.start),
        "tag": row.tag,
    }


def conference_shard(row: Conference) -> Row:
    return {
        "conference": row.name,
        "guests_muted": False,
        "id": row.id,
        "is_direct": False,
        "is_locked": False,
        "is_started": True,
        "node": NODES[row.node],
        "resource_uri": f"{STATUS}/conference_shard/{row.id}/",
        "service_type": row.service_type,
        "start_time": text_time(row.start),
        "system_location": LOCATION,
        "tag": row.tag,
        "transcoding_enabled": True,
    }


def live_participant(leg: Leg, row: Conference, now: int) -> Row:
    """A leg that is up, or is being connected: the service type climbs connecting, ivr, conference on the way."""
    up = leg.joined is not None and leg.joined <= now
    room = room_alias(row.name)
    service = leg.service_type
    if not up:
        half = leg.placed + ((leg.joined or leg.left) - leg.placed) // 2
        service = "connecting" if leg.direction == "out" or now < half else "ivr"
    loss, _ = leg.loss_at(now)
    bandwidth = 4128 if up else 0
    return {
        "bandwidth": bandwidth,
        "call_direction": leg.direction,
        "call_quality": _level(loss) if up and now - (leg.joined or now) > 20 * SECOND else "0_unknown",
        "call_tag": "",
        "call_uuid": leg.call,
        "conference": row.name,
        "connect_time": text_time(leg.joined) if up and leg.joined is not None else None,
        "conversation_id": leg.call,
        "destination_alias": room if leg.direction == "in" else leg.shown,
        "display_name": leg.name,
        "encryption": "On" if leg.protocol != "H323" else "Off",
        "has_media": up and _has_media(leg),
        "id": leg.id,
        "idp_uuid": "",
        "is_client_muted": False,
        "is_direct": False,
        "is_disconnect_supported": True,
        "is_idp_authenticated": False,
        "is_mute_supported": True,
        "is_muted": leg.role != "chair",
        "is_on_hold": False,
        "is_presentation_supported": True,
        "is_presenting": leg.role == "chair",
        "is_recording": False,
        "is_streaming": leg.excluded == "streaming",
        "is_transcribing": False,
        "is_transfer_supported": True,
        "license_count": int(_has_media(leg)),
        "license_type": "port" if _has_media(leg) else "nolicense",
        "media_node": NODES[row.node],
        "parent_id": "",
        "participant_alias": leg.shown,
        "protocol": leg.protocol,
        "proxy_node": "None",
        "remote_address": address(leg),
        "remote_port": 5061 if leg.protocol == "SIP" else 0,
        "resource_uri": f"{STATUS}/participant/{leg.id}/",
        "role": leg.role,
        "rx_bandwidth": bandwidth,
        "service_tag": row.tag,
        "service_type": service,
        "signalling_node": NODES[row.node],
        "source_alias": leg.shown if leg.direction == "in" else room,
        "system_location": LOCATION,
        "transcoding_enabled": True,
        "tx_bandwidth": bandwidth,
        "vendor": leg.vendor,
    }


def live_streams(leg: Leg, node: str, now: int) -> list[Row]:
    rx, tx = leg.loss_at(now)
    jitter = leg.jitter * (1 if rx > 100 else 0.4)
    return [
        {
            "end_time": None,
            "id": str(index),
            "node": node,
            "rx_jitter": round(jitter, 2),
            "rx_windowed_packet_loss": rx / 100,
            "start_time": text_time(leg.joined or now),
            "tx_jitter": round(jitter / 2, 2),
            "tx_windowed_packet_loss": tx / 100,
            "type": kind,
            **figures,
        }
        for index, (kind, _, figures) in enumerate(_streams(leg, now, rx, tx))
    ]


def registration(endpoint: Endpoint, number: int, alias: str, since: int) -> Row:
    return {
        "alias": alias,
        "id": number,
        "is_natted": False,
        "node": NODES[number % len(NODES)],
        "protocol": "sip" if "@" in alias else "h323",
        "push_token": "",
        "registration_id": f"{number:08d}",
        "remote_address": endpoint.aliases[-1] if endpoint.is_room else "10.63.0.9",
        "resource_uri": f"{STATUS}/registration_alias/{number}/",
        "start_time": text_time(since),
        "username": endpoint.code.lower(),
        "vendor": endpoint.vendor,
    }


def worker_vm(node: int, load: int, now: int) -> Row:
    return {
        "boot_time": text_time(now - 90 * 24 * 60 * MINUTE),
        "configuration_id": node + 1,
        "cpu_capabilities": "AVX2",
        "cpu_count": 48,
        "cpu_model": "Intel(R) Xeon(R) Gold 6342",
        "deploy_status": "DEPLOYED",
        "hypervisor": "VMware",
        "id": node + 1,
        "last_attempted_contact": text_time(now - 4 * SECOND),
        "last_updated": text_time(now - 4 * SECOND),
        "maintenance_mode": False,
        "maintenance_mode_reason": "",
        "max_audio_calls": 1600,
        "max_direct_participants": 0,
        "max_full_hd_calls": 100,
        "max_hd_calls": 200,
        "max_media_tokens": 2400,
        "max_sd_calls": 400,
        "media_load": min(100, load // 2),
        "media_tokens_used": load * 12,
        "name": f"conf{node + 1}",
        "node_type": "CONFERENCING",
        "resource_uri": f"{STATUS}/worker_vm/{node + 1}/",
        "signaling_count": load,
        "sync_status": "SYNCED",
        "system_location": LOCATION,
        "total_ram": 67_108_864,
        "upgrade_status": "IDLE",
        "version": "36 (79060.0.0)",
    }


def licensing(ports: int) -> Row:
    return {
        "audio_count": 0,
        "audio_total": 0,
        "customlayouts_active": False,
        "port_count": ports,
        "port_total": 600,
        "resource_uri": f"{STATUS}/licensing/1/",
        "system_count": 1,
        "system_total": 1,
        "vmr_count": 40,
        "vmr_total": 100,
    }


# What they share


def room_alias(conference: str) -> str:
    return f"{crc32(conference.partition(':')[0].encode()) % 1_000_000:06d}@{DOMAIN}"


def address(leg: Leg) -> str:
    """The IP that a leg came from; not one of its aliases."""
    number = crc32(leg.identity.encode())
    return f"172.{16 + number % 16}.{number // 16 % 250}.{number // 4000 % 250 + 1}"


def _has_media(leg: Leg) -> bool:
    return leg.joined is not None and leg.excluded not in ("api", "shadow")


def _streams(leg: Leg, until: int, rx: int, tx: int) -> Iterator[tuple[str, int, Row]]:
    """Kind, number and figures of each stream; `rx` and `tx` are losses in 1/100 of a percent."""
    if leg.joined is None or not _has_media(leg):
        return
    seconds = max(1, (until - leg.joined) // SECOND)
    shows = leg.role == "chair"
    for index, kind in enumerate(("audio", "video", "presentation") if shows else ("audio", "video")):
        sound = kind == "audio"
        rate = 64 if sound else leg.rate
        packets = seconds * (50 if sound else 180)
        share = 60 if sound else 100
        lost_in, lost_out = rx * share // 100, tx * share // 100
        picture = "" if sound else "None" if leg.rate == 0 else "1280x720" if leg.rate > 800 else "640x360"
        yield (
            kind,
            crc32(leg.id.encode()) * 4 % 2_000_000_000 + index,
            {
                "rx_bitrate": rate,
                "rx_codec": "opus" if sound else "H264_H_1",
                "rx_fps": 0.0 if sound else 30.0,
                "rx_packet_loss": lost_in / 100,
                "rx_packets_lost": packets * lost_in // 10_000,
                "rx_packets_received": packets - packets * lost_in // 10_000,
                "rx_resolution": picture,
                "tx_bitrate": rate,
                "tx_codec": "opus" if sound else "H264_H_1",
                "tx_fps": 0.0 if sound else 30.0,
                "tx_packet_loss": lost_out / 100,
                "tx_packets_lost": packets * lost_out // 10_000,
                "tx_packets_sent": packets,
                "tx_resolution": picture,
            },
        )


def _windows(leg: Leg, seconds: int) -> list[int]:
    """How many windows of 20 seconds were of which quality: unknown, good, ok, bad, terrible."""
    whole = seconds // 20
    if whole == 0 or not _has_media(leg):
        return [0, 0, 0, 0, 0]
    bad = whole // 3 if leg.rx_loss >= 100 else 0
    windows = [0, 0, 0, 0, 0]
    windows[int(_level(leg.rx_loss // 12 if bad else leg.rx_loss)[0])] += whole - bad
    windows[int(_level(leg.rx_loss)[0])] += bad
    return windows


def _quality(windows: list[int]) -> str:
    worst = max((level for level in range(1, 5) if windows[level] * 4 >= sum(windows) > 0), default=0)
    return ("0_unknown", "1_good", "2_ok", "3_bad", "4_terrible")[worst]


def _level(loss: int) -> str:
    """Below 1, 3 and 10 percent."""
    return "1_good" if loss < 100 else "2_ok" if loss < 300 else "3_bad" if loss < 1000 else "4_terrible"


def configured(standing: Mapping[str, Sequence[str]]) -> list[Row]:
    """The Virtual Meeting Rooms that dial somebody, each with a streaming service besides."""
    return [
        {
            "aliases": [],
            "automatic_participants": [],
            "description": "",
            "id": number,
            "name": room,
            "resource_uri": f"{CONFIGURATION}/conference/{number}/",
            "service_type": "conference",
            "tag": "",
        }
        for number, room in enumerate(standing, 1)
    ]


def dialed(standing: Mapping[str, Sequence[str]]) -> list[Row]:
    """Whom they dial: one row an alias, with every room that does."""
    rooms: dict[tuple[str, bool], list[int]] = {}
    for number, aliases in enumerate(standing.values(), 1):
        for alias in aliases:
            rooms.setdefault((alias, False), []).append(number)
        rooms.setdefault(("rtmps://stream.example/live", True), []).append(number)
    return [
        {
            "alias": alias,
            "call_type": "video",
            "conference": [f"{CONFIGURATION}/conference/{room}/" for room in of],
            "creation_time": "2026-01-05T08:00:00.514440",
            "description": "",
            "dtmf_sequence": "",
            "id": number,
            "keep_conference_alive": "keep_conference_alive_never"
            if streaming
            else "keep_conference_alive_if_multiple",
            "presentation_url": "",
            "protocol": "rtmp" if streaming else "sip",
            "remote_display_name": "",
            "resource_uri": f"{CONFIGURATION}/automatic_participant/{number}/",
            "role": "guest",
            "routing": "manual",
            "streaming": streaming,
            "system_location": None,
        }
        for number, ((alias, streaming), of) in enumerate(rooms.items(), 1)
    ]
