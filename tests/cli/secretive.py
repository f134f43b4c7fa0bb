"""A component with a secret, named by the tests' own options."""

from dataclasses import dataclass

from unfold.training.losses import Supervised


@dataclass(frozen=True)
class Secretive(Supervised):
    """Nothing is lost.

    Args:
        token: of a service.
    """

    token: str

    def __post_init__(self):
        if self.token == "bad":
            raise ValueError("it is too short")

    def __call__(self, reconstruction, truth):
        return (reconstruction - truth).sum()
