"""The kit that unfold's own components are held to, for those of its users.

`check_physics`, `check_prior`, `check_fidelity`, `check_algorithm`, `check_unfolded` and
`check_equilibrium` measure every law that applies and return a `Report`: each law with its figure
and its tolerance. `report.raise_if_failed()` makes a test of it; `unfold check physics=NAME` prints
it.
"""

from unfold.testing.algorithms import check_algorithm
from unfold.testing.models import check_equilibrium, check_unfolded
from unfold.testing.physics import check_operator, check_physics
from unfold.testing.priors import check_fidelity, check_prior
from unfold.testing.report import Check, LawError, NotJudged, Report

__all__ = [
    "Check",
    "LawError",
    "NotJudged",
    "Report",
    "check_algorithm",
    "check_equilibrium",
    "check_fidelity",
    "check_operator",
    "check_physics",
    "check_prior",
    "check_unfolded",
]
