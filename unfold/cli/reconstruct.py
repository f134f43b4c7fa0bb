"""`unfold reconstruct run=DIR input=IMAGE`, or `measurement=FILE`: one image."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from unfold.arrays import free_memory
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
    from unfold.evaluation.scans import Scan
    from unfold.physics.base import Physics

PACKAGED = {1: "every_operator", 3: "every_operator_colour"}
"""The run where none is named, by the channels of the image."""

TILE = 512
"""The side of the tiles on which a network sees a large image, in pixels."""

NEEDED = 450
"""Bytes for each number of a large image, measured: the data step sees the whole of it."""

SYNTAX = Syntax(
    "reconstruct",
    "Reconstruct one image with the weights of a run.",
    keys={
        "run": "its directory, or the end of its name; by default the one that comes with unfold",
        "input": "an image whose measurement is simulated",
        "measurement": "a measurement that is taken as it is, or a folder of measured files",
        "output": "the file to write; of a folder the folder, which is made",
        "format": "of the files in a folder: .npy .nii.gz .h5 .tif .png",
        "boundary": "circular: a blur is periodic, as trained; else a photograph is not",
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
    source = image or measurement
    assert source is not None
    if "run" not in given.keys:
        from unfold.evaluation.single_image import channels_of

        packaged = PACKAGED[1 if source.is_dir() else channels_of(source)]
        given = replace(given, keys={**given.keys, "run": packaged})
        say(f"run={packaged}: the network for many operators that comes with unfold")
    reference, checked, components = open_run(given, "reconstruct")
    from unfold.evaluation import measurement_file as stored
    from unfold.evaluation import single_image as single
    from unfold.evaluation.scans import figures, warn_outside
    from unfold.training.checkpoints.weights import load_weights

    weights = expand(given.keys["weights"], "weights") if "weights" in given.keys else None
    if measurement is not None and (components.data.measured or measurement.is_dir()):
        load_weights(components.reconstructor, weights or reference.path)
        components.trainer.place(components.reconstructor)
        return _measured(given, reference.path, components, measurement)
    known = level = shape = None
    if not image:
        shape, model = stored.read_geometry(source) or (None, "")
        expect_memory(source, shape or (1,))
        known, level = stored.read_case(source, components.physics, shape)
    if measurement is not None and not (known or components.physics.is_deterministic):
        raise ConfigError(
            f"measurement = {measurement}: the run's {type(components.physics).__name__} samples "
            "an operator for every image, so the one that made this measurement must be named: "
            "physics.kernel=FILE for a blur, a physics without ranges, or the .npz file that "
            "unfold wrote with it."
        )
    load_weights(components.reconstructor, weights or reference.path)
    components.trainer.place(components.reconstructor)
    output = single.new_output(given.keys.get("output"), source, simulated=image is not None)
    expect_new(output)
    net, physics, data = components.reconstructor, components.physics, components.data
    net.tile = TILE
    stated = data.stated
    if image is not None:
        truth = single.read_cropped(image, data.channels, data.multiple, stated)
        expect_memory(source, truth.shape)
        seed = checked.settings.seed
        scores = single.reconstruct_simulated(net, physics, truth, output, components.metrics, seed)
    else:
        y = single.read_measurement(source, data.channels, stated)
        expect_memory(source, y.shape)
        if model and model != stored.described(physics):
            raise ConfigError(
                f"measurement = {source}: measured by {model}, and the run has "
                f"{stored.described(physics)}. Set physics to the first."
            )
        picture = source.suffix.lower() not in (".npy", ".npz") and stated is None
        physics = physics if model else border_of(given, physics)
        operator = single.check_measured(
            y, physics, shape, data.channels, picture=picture, operator=known
        )
        warn_outside(ranges_of(reference.path), figures(y[None], operator), str(source))
        border = physics is not components.physics
        scores = single.reconstruct_measured(
            net, physics, operator, y, output, border=border, level=level
        )
    scores_table(scores)
    say(f"wrote {output}")
    return 0


def _measured(given: Arguments, run: Path, components: Components, measurement: Path) -> int:
    """Reconstruct measured files: one, or each of a folder, of which faulty ones are named."""
    from rich.progress import track

    from unfold.evaluation.output_files import suffix_of
    from unfold.evaluation.scans import reconstruct_file

    scan, kind = scan_of(given, components), f".{given.keys.get('format', 'npy').lstrip('.')}"
    several, own = measurement.is_dir(), f"{measurement.stem}_reconstructed.npy"
    output = expand(given.keys.get("output", own), "output")
    places = {measurement: output}
    if several:
        suffixes = scan.data.suffixes
        files = sorted(p for p in measurement.rglob("*") if p.name.lower().endswith(suffixes))
        places = {p: output / p.relative_to(measurement).with_suffix(kind) for p in files}
        if not files or "output" not in given.keys:
            raise ConfigError(
                f"measurement = {measurement}: {len(files)} files of {listing(suffixes)} in it; "
                "its reconstructions need output=FOLDER."
            )
    for place in places.values():
        suffix_of(place)
        expect_new(place)
    trained, faults = ranges_of(run), []
    for path, place in track(list(places.items()), "reconstructing", disable=not several):
        try:
            count, cases = len(scan.data.kinds(path)), scan.cases(path)
            found = track(cases, "reconstructing", total=count, disable=several)
            scores = reconstruct_file(components.reconstructor, found, place, trained)
        except DataError as error:
            faults.append(str(error))
    if not several and not faults:
        scores_table(scores)
    say(f"wrote {len(places) - len(faults)} of {len(places)} files: {output}")
    if faults and not (several and scan.data.skip_faulty):
        raise DataError(f"{len(faults)} of {len(places)} files cannot be used:", *faults)
    for fault in faults:
        say(f"left out: {fault}")
    return 0


def scan_of(given: Arguments, components: Components) -> "Scan":
    """How measured files are read, and by what operators they were made."""
    from unfold.data.measured import MeasuredData
    from unfold.evaluation.base import anchor_of
    from unfold.evaluation.scans import Scan

    if not isinstance(components.data, MeasuredData):
        raise ConfigError(
            "the run's data are images. Say how measured files are read: data=kspace, "
            "data=sinogram, or data=pairs of photographs."
        )
    keys = [key_of(text).split(".") for text in given.overrides]
    stated = tuple(key[1] for key in keys if key[0] == "physics" and len(key) > 1)
    physics = border_of(given, components.physics)
    opened, anchor = physics is not components.physics, anchor_of(components.reconstructor)
    return Scan(physics, components.data, stated, opened, anchor)


def ranges_of(run: Path) -> Mapping[str, Sequence[float]]:
    """What a run was trained on; nothing of one that did not record it."""
    return read_json(run / RANGES) if (run / RANGES).is_file() else {}


def border_of(given: Arguments, physics: "Physics") -> "Physics":
    """The physics of a photograph, which is not periodic, unless it is said to be."""
    from unfold.evaluation.scans import without_border

    opened = without_border(physics)
    if opened is physics or given.keys.get("boundary") == "circular":
        return physics
    say(
        "a photograph is not periodic: reconstructed on a larger image, and cut; boundary=circular "
        "takes the blur as it was trained."
    )
    return opened


def expect_memory(source: Path, shape: Sequence[int]) -> None:
    """Refuse an image, or a measurement, that this machine cannot hold in its data step."""
    free, numbers = free_memory(), prod(shape)
    if NEEDED * numbers > free:
        sides, gib = shape[-2:], NEEDED * numbers / 2**30
        fits = [int(side * (free / NEEDED / numbers) ** 0.5) for side in sides]
        raise DataError(
            f"{source}: {' x '.join(map(str, sides))} pixels need {gib:.1f} GiB of memory, and "
            f"{free / 2**30:.1f} GiB are free. About {fits[0]} x {fits[1]} pixels fit: scale it "
            "down, or cut it into parts that overlap."
        )


def expect_new(output: Path) -> None:
    """Refuse to replace a file or a folder, and a place in a finished run."""
    if os.path.lexists(output):  # a broken link, too
        raise ConfigError(f"output = {output}: exists, and is not replaced. Name another.")
    expect_unsealed(output)


def expect_unsealed(output: Path) -> None:
    """Refuse to write into a finished run."""
    sealed = (one for one in output.absolute().parents if (one / MANIFEST).is_file())
    if run := next(sealed, None):
        raise ConfigError(
            f"output = {output}: {run} is a finished run, which its seal keeps as it is. Name a "
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
