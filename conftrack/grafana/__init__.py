"""Brings folder, data sources, dashboards and alert rules into a Grafana that is there already, or writes files.

Alert rules only on demand: where Prometheus evaluates them (`conftrack alerts render`), Grafana shows them through its
data source. Evaluated in both, everybody would be told everything twice.
"""

from __future__ import annotations

from conftrack.grafana.changes import Change, Plan
from conftrack.grafana.client import GrafanaClient
from conftrack.grafana.content import dashboards, data_sources
from conftrack.grafana.export import export
from conftrack.grafana.sync import plan

__all__ = ["Change", "GrafanaClient", "Plan", "dashboards", "data_sources", "export", "plan"]
