"""Whether anything asks the policy for equilibria that are not reached."""

from typing import TYPE_CHECKING

from unfold.errors import ConfigError

if TYPE_CHECKING:
    from unfold.models.model import Model


def check_unreached(name: str, model: "Model") -> None:
    """Refuse a policy for equilibria that the model has no use for.

    Args:
        name: of `trainer.on_unreached`.
        model: what is trained.

    Raises:
        ConfigError: nothing would ever ask the policy.
    """
    if name == "warn":
        return
    key = f"trainer.on_unreached = {name}"
    if not model.needs_contraction:
        raise ConfigError(
            f"{key}: only an equilibrium can be missed, and the model is {type(model).__name__}. "
            "Leave it out, or take model=deq."
        )
    if model.refuses_inexact_gradients and name != "stop":
        raise ConfigError(
            f"{key}: with model.backward.on_divergence=error a gradient that is not reached ends "
            "the training before the policy is asked. Write model.backward.on_divergence=warn."
        )
