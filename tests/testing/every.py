"""Every seeded fault, and everything sound."""

from tests.testing import faults, faults_physics

FAULTS = {**faults.FAULTS, **faults_physics.FAULTS}
SOUND = {**faults.SOUND, **{f"physics: {k}": v for k, v in faults_physics.SOUND.items()}}
