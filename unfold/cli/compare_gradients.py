"""`unfold compare-gradients`: every gradient of one batch, its time, its memory and its error."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from unfold.cli.console import say, table
from unfold.config.arguments import Arguments, Syntax
from unfold.config.build import components_of, configure
from unfold.config.check import Components
from unfold.config.naming import option_names
from unfold.config.overrides import key_of
from unfold.errors import ConfigError

if TYPE_CHECKING:
    from unfold.evaluation.gradients import Case, Row

COLUMNS = ("gradient", "time (ms)", "peak (MB)", "cosine", "error", "reached")

SYNTAX = Syntax(
    "compare-gradients",
    "The time, memory and error of every way to differentiate one batch, on identical weights.",
    keys={
        "images": "crops in the batch; 2 by default",
        "size": "side of a crop in pixels; 32 by default",
        "iterations": "steps that are unfolded; 10 by default",
    },
)


def compare_gradients_of_batch(arguments: Sequence[str]) -> int:
    """Differentiate one batch in every way, on identical weights, and print what each costs."""
    given = SYNTAX.parse(arguments)
    images, size = _count(given, "images", 2), _count(given, "size", 32)
    iterations = _count(given, "iterations", 10)
    chosen = [text for text in given.overrides if key_of(text) == "model"]
    if chosen and chosen != ["model=deq"]:
        raise ConfigError(f"{chosen[0]}: compare-gradients runs every model itself; leave it out.")
    kept = [text for text in given.overrides if text not in chosen]
    checked = configure([*given.folder_flags, *kept, "model=deq"], "compare-gradients")
    from unfold.cli.runtime import keep_freed_memory, set_threads
    from unfold.evaluation.gradients import compare_gradients

    keep_freed_memory()
    components = components_of(checked)
    set_threads(components.trainer.threads)
    components.data.check()
    case = _case(components, checked.settings.seed, images, size)
    with option_names(checked):
        rows = [_row(one) for one in compare_gradients(components.reconstructor, case, iterations)]
    table(None, COLUMNS, rows)
    shape = "x".join(map(str, case.x.shape))
    say(
        f"one batch of {shape}, {iterations} unfolded iterations; errors are relative to the exact "
        "gradient of each model in float64."
    )
    return 0


def _row(row: "Row") -> tuple[str, ...]:
    reached = "" if row.reached is None else "yes" if row.reached else "no"
    numbers = f"{1e3 * row.seconds:.0f}", f"{row.memory / 1e6:.1f}"
    return f"{row.model} {row.mode}", *numbers, f"{row.cosine:.6f}", f"{row.error:.1e}", reached


def _count(given: Arguments, key: str, default: int) -> int:
    text = given.keys.get(key, str(default))
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(f"{key} = {text}: a whole number of at least 1 is expected.")
    return int(text)


def _case(components: Components, seed: int, count: int, size: int) -> "Case":
    """Crops of as many training images, measured."""
    from unfold.data.example import Example, stack
    from unfold.evaluation.gradients import Case
    from unfold.random import Draws
    from unfold.training.losses import Supervised

    loss = components.loss
    if not isinstance(loss, Supervised):
        raise ConfigError(
            f"loss {type(loss).__name__}: gradients are compared where the images are known; set "
            "loss=mse or loss=l1."
        )
    held = components.data.examples("train")
    if count > len(held):
        raise ConfigError(f"images = {count}: there are {len(held)} training images.")
    chosen = [held[i][1] for i in range(count)]
    if not components.data.measured:  # else a crop would not be what was measured
        chosen = [Example(one.image[:, :size, :size]) for one in chosen if one.image is not None]
        smallest = min(side for one in chosen for side in one.kind[0][2:])
        if smallest < size:
            raise ConfigError(f"size = {size}: a training image has a side of {smallest} pixels.")
    batch = stack(chosen)
    if batch.images is None:
        raise ConfigError("data: the training examples have no image to compare with.")
    y, operator = components.physics.measure(batch, Draws(seed, range(count), "train"))
    return Case(batch.images, y, operator, loss)
