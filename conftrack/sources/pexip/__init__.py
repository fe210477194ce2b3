"""Pexip Infinity, read through its Management API: what is going on now (status) and what has ended (history)."""

from conftrack.sources.pexip.source import PexipOptions, PexipSource

__all__ = ["PexipOptions", "PexipSource"]
