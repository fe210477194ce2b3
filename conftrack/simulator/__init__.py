"""A simulated province, with a conference system that can be asked about it and the true figures to compare with.

`World` is what happened; `pexip_app` shows it as a Pexip management node would; `Faults` says what goes wrong on
the way. Only for demonstrations and tests: nothing here reads or changes anything real.
"""

from conftrack.simulator.faults import Faults, Injector
from conftrack.simulator.gate import OAuthClient
from conftrack.simulator.incidents import TrueIncident
from conftrack.simulator.pexip import INJECTOR, VIOLATIONS, pexip_app
from conftrack.simulator.plan import Conference, Heads, Leg, Maintenance, Meeting
from conftrack.simulator.registrations import Away
from conftrack.simulator.truth import Figures, MonthFigures, Part, Truth, of_month
from conftrack.simulator.world import VIETNAM, Clock, World, accelerated

__all__ = [
    "INJECTOR",
    "VIETNAM",
    "VIOLATIONS",
    "Away",
    "Clock",
    "Conference",
    "Faults",
    "Figures",
    "Heads",
    "Injector",
    "Leg",
    "Maintenance",
    "Meeting",
    "MonthFigures",
    "OAuthClient",
    "Part",
    "TrueIncident",
    "Truth",
    "World",
    "accelerated",
    "of_month",
    "pexip_app",
]
