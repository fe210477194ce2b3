"""Cisco RoomOS: the room devices that count the people they see, polled and pushed."""

from conftrack.sources.roomos.source import RoomOsOptions, RoomOsSource

__all__ = ["RoomOsOptions", "RoomOsSource"]
