"""The property-test kit for components, those of unfold and of its users.

`check_physics`, `check_prior`, `check_fidelity`, `check_algorithm`, `check_start`, `check_loss`,
`check_unfolded` and `check_equilibrium` measure every property that applies and return a `Report`:
each property with its error and its tolerance. `report.raise_if_failed()` makes a test of it;
`unfold check physics=NAME` prints it.
"""

from unfold.testing.algorithms import check_algorithm
from unfold.testing.models import check_equilibrium, check_unfolded
from unfold.testing.physics import check_operator, check_physics
from unfold.testing.priors import check_fidelity, check_prior
from unfold.testing.report import Check, NotJudged, PropertyError, Report
from unfold.testing.training import check_loss, check_start

__all__ = [
    "Check",
    "NotJudged",
    "PropertyError",
    "Report",
    "check_algorithm",
    "check_equilibrium",
    "check_fidelity",
    "check_loss",
    "check_operator",
    "check_physics",
    "check_prior",
    "check_start",
    "check_unfolded",
]
