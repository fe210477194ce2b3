"""Of what somebody is alerted, for Prometheus (`render`) or for a Grafana that evaluates it itself (`grafana_groups`).

One of the two: evaluated by both, everybody would be told everything twice.
"""

from __future__ import annotations

from conftrack.alerts.grafana import grafana_groups
from conftrack.alerts.prometheus import render
from conftrack.alerts.rules import Lang

__all__ = ["Lang", "grafana_groups", "render"]
