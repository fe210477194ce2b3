"""What people and programs see over HTTP: the live page, the metrics, the health checks, and what systems push."""

from conftrack.web.app import application

__all__ = ["application"]
