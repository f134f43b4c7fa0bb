"""A component with a secret, named by the tests' own options."""

from dataclasses import dataclass

from unfold.training.losses import Loss


@dataclass(frozen=True)
class Secretive(Loss):
    """Nothing is lost.

    Args:
        token: of a service.
    """

    token: str

    def __call__(self, reconstruction, truth):
        return (reconstruction - truth).sum()
