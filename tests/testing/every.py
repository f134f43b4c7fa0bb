"""Every seeded fault, and everything sound."""

from tests.testing import faults, faults_nonlinear, faults_physics

FAULTS = {**faults.FAULTS, **faults_physics.FAULTS, **faults_nonlinear.FAULTS}
SOUND = {
    **faults.SOUND,
    **{f"physics: {k}": v for k, v in faults_physics.SOUND.items()},
    **{f"not linear: {k}": v for k, v in faults_nonlinear.SOUND.items()},
}
