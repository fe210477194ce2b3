"""A leg's quality, out of the media streams it was made of.

Loss is the share of all its packets that were lost; where a stream does not tell its packets, the mean of the
streams' percentages. The bitrate is the sum over audio, video and presentation, where a kind of stream that was set
up more than once counts with its mean, weighted by packets. A stream that carried nothing says nothing about loss.
Jitter is the worst of all streams, either way. Seen from the node: rx came from the endpoint, tx went to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import NamedTuple

from conftrack.sources.pexip.wire import LiveStream, Stream


class Quality(NamedTuple):
    """Fields of `LegRecord`, in its units; None where no stream tells."""

    rx_bitrate: int | None = None
    tx_bitrate: int | None = None
    rx_loss: float | None = None
    tx_loss: float | None = None
    jitter_seconds: float | None = None


#: One direction of one stream: kind, kbit/s, loss in percent, packets lost, packets sent or received.
_Part = tuple[str | None, float | None, float | None, float | None, float | None]

_RX: Callable[[Stream], _Part] = attrgetter(
    "stream_type", "rx_bitrate", "rx_packet_loss", "rx_packets_lost", "rx_packets_received"
)
_TX: Callable[[Stream], _Part] = attrgetter(
    "stream_type", "tx_bitrate", "tx_packet_loss", "tx_packets_lost", "tx_packets_sent"
)


def ended_quality(streams: Sequence[Stream]) -> Quality:
    """Of a leg that is over: from its first packet to its last."""
    rx_bitrate, rx_loss = _way([_RX(stream) for stream in streams], lost_apart=True)
    tx_bitrate, tx_loss = _way([_TX(stream) for stream in streams], lost_apart=False)
    return Quality(rx_bitrate, tx_bitrate, rx_loss, tx_loss)


def live_quality(streams: Sequence[LiveStream]) -> Quality:
    """Of a leg that is up, as it is now: by the node's loss of late, where it keeps that."""
    rx: list[_Part] = []
    tx: list[_Part] = []
    for s in streams:
        lost, packets = s.rx_packets_lost, s.rx_packets_received
        if s.rx_windowed_packet_loss is not None and packets is not None:
            # As if all packets had been lost at the rate of late.
            packets += lost or 0
            lost = packets * s.rx_windowed_packet_loss / 100
            packets -= lost
        percent = s.rx_packet_loss if s.rx_windowed_packet_loss is None else s.rx_windowed_packet_loss
        rx.append((s.type, s.rx_bitrate, percent, lost, packets))
        lost, packets = s.tx_packets_lost, s.tx_packets_sent
        if s.tx_windowed_packet_loss is not None and packets is not None:
            lost = packets * s.tx_windowed_packet_loss / 100
        percent = s.tx_packet_loss if s.tx_windowed_packet_loss is None else s.tx_windowed_packet_loss
        tx.append((s.type, s.tx_bitrate, percent, lost, packets))
    rx_bitrate, rx_loss = _way(rx, lost_apart=True)
    tx_bitrate, tx_loss = _way(tx, lost_apart=False)
    jitters = [ms for s in streams for ms in (s.rx_jitter, s.tx_jitter) if ms is not None]
    return Quality(rx_bitrate, tx_bitrate, rx_loss, tx_loss, max(jitters) / 1000 if jitters else None)


def _way(parts: Sequence[_Part], *, lost_apart: bool) -> tuple[int | None, float | None]:
    """Bitrate (bit/s) and loss (ratio) of one direction of a leg; `lost_apart`: packets are without the lost ones."""
    rates: dict[str | None, float] = {}
    total_lost = total_sent = total_ratio = 0.0
    told = 0
    counted = True
    for kind, kbps, percent, lost, packets in parts:
        if kbps is not None:
            rates[kind] = _mean_rate(parts, kind) if kind in rates else kbps
        if lost is not None and packets is not None:
            sent = packets + lost if lost_apart else packets
            if sent <= 0:
                continue
            total_lost += lost
            total_sent += sent
            total_ratio += lost / sent
        elif percent is not None and packets != 0:
            counted = False
            total_ratio += percent / 100
        else:
            continue
        told += 1
    bitrate = round(1000 * sum(rates.values())) if rates else None
    if not told:
        return bitrate, None
    # A receiver that counts a packet twice can say that fewer than none were lost.
    return bitrate, min(max(total_lost / total_sent if counted else total_ratio / told, 0.0), 1.0)


def _mean_rate(parts: Sequence[_Part], kind: str | None) -> float:
    rates = [(kbps, packets or 0.0) for other, kbps, _, _, packets in parts if other == kind and kbps is not None]
    total = sum(packets for _, packets in rates)
    if total <= 0:
        return sum(kbps for kbps, _ in rates) / len(rates)
    return sum(kbps * packets for kbps, packets in rates) / total
