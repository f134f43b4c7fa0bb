"""`unfold reconstruct run=DIR input=IMAGE`, or `measurement=FILE`: one image."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from unfold.cli.console import say, scores_table
from unfold.cli.evaluate import open_run
from unfold.config.arguments import Arguments, Syntax
from unfold.config.check import Components
from unfold.config.overrides import key_of
from unfold.disk import expand
from unfold.errors import ConfigError, DataError, listing, nearest
from unfold.runs.files import RANGES, read_json
from unfold.runs.seal import MANIFEST

if TYPE_CHECKING:
    from unfold.physics.base import Physics

SYNTAX = Syntax(
    "reconstruct",
    "Reconstruct one image with the weights of a run.",
    keys={
        "run": "the run: its directory, or the end of its name",
        "input": "an image whose measurement is simulated",
        "measurement": "a measurement that is taken as it is, or a folder of measured files",
        "output": "the file to write; of a folder the folder, which is made",
        "format": "of the files in a folder: .npy .nii.gz .h5 .tif .png",
        "boundary": "circular: a blur is periodic, as stated; else a photograph goes on beyond y",
        "weights": "a folder that unfold adapt wrote; else those of the run",
    },
)


def reconstruct_image(arguments: Sequence[str]) -> int:
    """Reconstruct one image with the weights of a run."""
    given = SYNTAX.parse(arguments)
    image, measurement = _existing(given, "input"), _existing(given, "measurement", folder=True)
    if (image is None) == (measurement is None):
        keys = [text.partition("=")[0] for text in given.overrides]
        near = {key: nearest(key, SYNTAX.keys) for key in keys}
        meant = [f"{key} is not known{text}" for key, text in near.items() if "mean" in text]
        raise ConfigError(
            "unfold reconstruct needs one file: input=IMAGE to simulate its measurement, or "
            f"measurement=FILE to reconstruct a real one. {' '.join(meant)}".strip()
        )
    reference, checked, components = open_run(given, "reconstruct")
    from unfold.evaluation import single_image as single
    from unfold.evaluation.scans import warn_outside
    from unfold.training.checkpoints.weights import load_weights

    weights = expand(given.keys["weights"], "weights") if "weights" in given.keys else None
    if measurement is not None and components.data.measured:
        load_weights(components.reconstructor, weights or reference.path)
        return _measured(given, reference.path, components, measurement)
    if measurement is not None and measurement.is_dir():
        raise ConfigError(
            f"measurement = {measurement}: the run's data are images. Say how its files are read: "
            "data=pairs of photographs, data=kspace or data=sinogram."
        )
    if measurement is not None and not components.physics.is_deterministic:
        raise ConfigError(
            f"measurement = {measurement}: the run's {type(components.physics).__name__} samples "
            "an operator for every image, so the one that made this measurement must be named: "
            "physics.kernel=FILE for a blur, or a physics without ranges."
        )
    load_weights(components.reconstructor, weights or reference.path)
    source = image or measurement
    assert source is not None
    output = single.new_output(given.keys.get("output"), source, simulated=image is not None)
    expect_outside_runs(output)
    net, physics, data = components.reconstructor, components.physics, components.data
    stated = data.stated
    if image is not None:
        truth = single.read_cropped(image, data.channels, data.multiple, stated)
        seed = checked.settings.seed
        scores = single.reconstruct_simulated(net, physics, truth, output, components.metrics, seed)
    else:
        y = single.read_measurement(source, data.channels, stated)
        shape, model = single.read_geometry(source) or (None, "")
        if model and model != single.described(physics):
            raise ConfigError(
                f"measurement = {source}: measured by {model}, and the run has "
                f"{single.described(physics)}. Set physics to the first."
            )
        picture = source.suffix.lower() not in (".npy", ".npz") and stated is None
        physics, border = (physics, False) if model else border_of(given, physics)
        operator = single.check_measured(y, physics, shape, data.channels, picture=picture)
        warn_outside(ranges_of(reference.path), y[None], operator, str(source))
        scores = single.reconstruct_measured(net, physics, operator, y, output, border=border)
    scores_table(scores)
    say(f"wrote {output}")
    return 0


def _measured(given: Arguments, run: Path, components: Components, measurement: Path) -> int:
    """Reconstruct measured files: one, or each of a folder."""
    from rich.progress import track

    from unfold.data.measured import MeasuredData
    from unfold.evaluation import scans
    from unfold.evaluation.output_files import suffix_of

    data, net = components.data, components.reconstructor
    assert isinstance(data, MeasuredData)
    files, output = [measurement], expand(given.keys.get("output", ""), "output")
    kind = f".{given.keys.get('format', '.npy').lstrip('.')}"
    if measurement.is_dir():
        files = sorted(p for p in measurement.rglob("*") if p.name.lower().endswith(data.suffixes))
        if "output" not in given.keys or not files or output.is_file():
            what = f"has none of {listing(data.suffixes)}" if not files else "a folder"
            raise ConfigError(f"measurement = {measurement}: {what}. Give output=FOLDER as well.")
        places = [output / p.relative_to(measurement).with_suffix(kind) for p in files]
    else:
        places = [
            output if "output" in given.keys else Path(f"{measurement.stem}_reconstructed.npy")
        ]
    expect_outside_runs(output)
    for place in places:
        suffix_of(place)
        if place.exists():
            raise ConfigError(f"output = {place}: exists, and is not replaced. Name another.")
    physics, border = border_of(given, components.physics)
    trained = ranges_of(run)
    faults = []
    several = len(files) > 1
    for path, place in track(
        list(zip(files, places, strict=True)), "reconstructing", disable=not several
    ):
        try:
            found = scans.cases(physics, data, path, stated(given))
            scores = scans.reconstruct_file(net, found, place, trained, border=border)
        except DataError as error:
            if not several:
                raise
            faults.append(str(error))
            continue
        if not several:
            scores_table(scores)
    say(f"wrote {len(files) - len(faults)} files, {output}" if several else f"wrote {places[0]}")
    if faults and not data.skip_faulty:
        raise DataError(f"{len(faults)} of {len(files)} files cannot be used:", *faults)
    for fault in faults:
        say(f"left out: {fault}")
    return 0


def stated(given: Arguments) -> list[str]:
    """The fields of the physics that the command line names."""
    keys = [key_of(text).split(".") for text in given.overrides]
    return [key[1] for key in keys if key[0] == "physics" and len(key) > 1]


def ranges_of(run: Path) -> Mapping[str, Sequence[float]]:
    """What a run was trained on; nothing of one that did not record it."""
    return read_json(run / RANGES) if (run / RANGES).is_file() else {}


def border_of(given: Arguments, physics: "Physics") -> "tuple[Physics, bool]":
    """The physics of a photograph, which is not periodic, and whether the image is cut to it."""
    from unfold.evaluation.scans import without_border

    opened = without_border(physics)
    if opened is physics or given.keys.get("boundary") == "circular":
        return physics, False
    say(
        "a photograph is not periodic: reconstructed on a larger image, and cut; boundary=circular "
        "takes the blur as it was trained."
    )
    return opened, True


def expect_outside_runs(output: Path) -> None:
    """Refuse to write into a finished run."""
    if sealed := next(
        (one for one in output.absolute().parents if (one / MANIFEST).is_file()), None
    ):
        raise ConfigError(
            f"output = {output}: {sealed} is a finished run, which its seal keeps as it is. Name a "
            "file elsewhere."
        )


def _existing(given: Arguments, key: str, *, folder: bool = False) -> Path | None:
    """The file that a key names; None where the key is not given."""
    if key not in given.keys:
        return None
    path = expand(given.keys[key], key)
    if path.is_dir() and folder:
        return path
    if path.is_dir():
        raise ConfigError(
            f"{key} = {path}: a folder, and one file is expected. Give its files one by one; "
            "unfold evaluate run=RUN data=folder data.test_root=DIR takes a folder of images."
        )
    if not path.is_file():
        raise ConfigError(f"{key} = {path}: there is no such file.")
    return path
