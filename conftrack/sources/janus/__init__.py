"""Janus, the WebRTC server: the rooms and participants of its VideoRoom plugin, polled and pushed."""

from conftrack.sources.janus.source import JanusOptions, JanusSource

__all__ = ["JanusOptions", "JanusSource"]
