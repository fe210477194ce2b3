"""All boards, as the text that Grafana reads."""

from __future__ import annotations

import json

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from dashboards.boards import collector, endpoint, handover, live, organisations, usage


def rendered() -> dict[str, str]:
    """The JSON of every board, by uid."""
    made = (module.made() for module in (live, handover, organisations, endpoint, usage, collector))
    return {str(each.uid): json.dumps(each, cls=JSONEncoder, indent=2, ensure_ascii=False) + "\n" for each in made}
