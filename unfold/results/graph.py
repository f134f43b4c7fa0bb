"""A network as a graph of fixed length in a file, compared with the network."""

import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, is_dataclass
from traceback import walk_tb
from typing import Any

import torch
from torch import Tensor, nn

from unfold.errors import ConfigError, listing
from unfold.evaluation.base import Case
from unfold.export import Exportable, tensor_names
from unfold.extras import optional
from unfold.models.unfolded import Unfolded
from unfold.physics.base import Physics
from unfold.physics.mixture import Mixture
from unfold.pytree import tensors
from unfold.random import Draws
from unfold.reconstructor import Reconstructor
from unfold.results.real_pairs import Lowered
from unfold.solvers.conjugate_gradient import exported_iterations
from unfold.solvers.result import SolveReport, watched
from unfold.typing import Shape

PARITY = 1e-5
"""How far an image of the file may be from that of the network, relative to its maximum."""

MOST = 2000
"""Steps times iterations of conjugate gradients in each that a graph may have."""

LARGE = 3000
"""Nodes from which the optimizer of the exporter takes minutes."""

OTHERS = "format=safetensors and format=deepinv hold every network."


@dataclass(frozen=True)
class Graph:
    """A file that computes, and how far it was found to be from the network.

    Args:
        file: its name.
        content: its bytes.
        physics: whose operators it takes.
        inputs: the name and the shape of each input, (…, 2) where it is complex.
        output: the shape of the image.
        iterations: of an equilibrium or a classical algorithm; None of an unfolded network.
        solve: iterations of each solve by conjugate gradients; 0 where there is none.
        difference: of an image, between the file and the network of so many iterations.
        rest: between this network and the one that stops by its own rule.
    """

    file: str
    content: bytes
    physics: str
    inputs: Sequence[tuple[str, tuple[int, ...]]]
    output: tuple[int, ...]
    iterations: int | None
    solve: int
    difference: float
    rest: float


@torch.no_grad()
def make_graph(
    net: Reconstructor, physics: Physics, form: str, shape: Shape, asked: int | None = None
) -> Graph:
    """The network for the measurement of one image of this shape.

    The file is compared on another measurement, by another operator, than it was traced on.

    Args:
        net: the network.
        physics: samples the operators.
        form: onnx or torch_export.
        shape: of one image, (C, H, W).
        asked: iterations of an equilibrium or a classical algorithm; None for twice those that it
            took, as no step is accelerated in the graph.

    Raises:
        ConfigError: the physics is a mixture, an operation has no translation, or the file computes
            something else.
    """
    if asked is not None and isinstance(net.model, Unfolded):
        raise ConfigError(
            f"iterations = {asked}: the network is unfolded, its length is fixed. Leave it out."
        )
    if isinstance(physics, Mixture) and len(physics.families) > 1:
        raise ConfigError(
            f"format = {form}: images are measured by one of {listing(physics.families)}, and a "
            f"graph holds one, such as physics=denoising: choose a physics. {OTHERS}"
        )
    net.eval()
    first, other = (_measured(physics, shape, i) for i in (0, 1))
    solves: list[SolveReport] = []
    with _quiet(), watched(solves):
        taken = [net.solve(*case[:2], noise_level=case.noise_level) for case in (first, other)]
    solve = max((2 + int(1.25 * one.iterations.max()) for one in solves), default=0)
    count = None
    if not isinstance(net.model, Unfolded):
        count = asked or 2 * max(int(one.iterations.max()) for one in taken)
    if (length := (count or net.model.count or 1) * max(solve, 1)) > MOST:
        raise ConfigError(
            f"format = {form}: a graph has a fixed length, and this one would have {length} "
            f"iterations, {MOST} at most. Give fewer, iterations=N; {OTHERS}"
        )
    with exported_iterations(solve), _refusals(form), _quiet():
        module, program = _traced(net, first, count)
        names = ["y", *tensor_names(first.operator), *["noise_level"] * module.noise_level]
        traced, held = (_inputs(case, noisy=module.noise_level) for case in (first, other))
        real, other_real = (tuple(map(_real, given)) for given in (traced, held))
        lowered = Lowered(program.run_decompositions({}).module(check_guards=False), real)
        program = torch.export.export(lowered, real, strict=False)
        content = (_onnx if form == "onnx" else _torch_export)(program, names)
        image = (_run_onnx if form == "onnx" else _run_torch_export)(content, other_real)
        want = _real(module(*held))
    if not (difference := _apart(image, want)) <= PARITY:
        raise ConfigError(
            f"format = {form}: the file computes an image that is {difference:.1e} from that of "
            f"the network, and {PARITY:.0e} is allowed. {OTHERS}"
        )
    inputs = [(name, tuple(t.shape)) for name, t in zip(names, real, strict=True)]
    file = "model.onnx" if form == "onnx" else "model.pt2"
    rest = _apart(_real(taken[1].image), want)
    size = tuple(want.shape)
    return Graph(file, content, str(physics), inputs, size, count, solve, difference, rest)


def _measured(physics: Physics, shape: Shape, image: int) -> Case:
    """The measurement of a smooth image, by an operator of its own."""
    draws = Draws(0, (image,), "export")
    x = torch.nn.functional.avg_pool2d(draws.uniform("image", shape), 5, 1, 2)
    y, operator = physics.measure(x, draws)
    return Case(y, operator, physics.noise_level(y, operator, draws))


def _inputs(case: Case, *, noisy: bool) -> tuple[Tensor, ...]:
    level = (case.noise_level,) if noisy and case.noise_level is not None else ()
    return case.y, *tensors(case.operator), *level


def _traced(net: Reconstructor, case: Case, count: int | None) -> tuple[Exportable, Any]:
    """The graph, with the noise level as its last input where that changes the image."""
    for noisy in (case.noise_level is not None, False):
        module = Exportable(net, case.operator, noise_level=noisy, iterations=count)
        program = torch.export.export(module, _inputs(case, noisy=noisy), strict=False)
        *_, last = (node for node in program.graph.nodes if node.op == "placeholder")
        if not noisy or _reaches_output(last):
            break
    return module, program


def _reaches_output(node: Any) -> bool:
    queue, seen = [node], set[Any]()
    while queue:
        seen.add(one := queue.pop())
        queue += [user for user in one.users if user not in seen]
    return any(one.op == "output" for one in seen)


def _real(t: Tensor) -> Tensor:
    """(…, 2) of a complex tensor."""
    return torch.view_as_real(t.resolve_conj()).contiguous() if t.is_complex() else t.contiguous()


def _apart(one: Tensor, other: Tensor) -> float:
    apart = (one - other).abs().max()
    return float(apart / other.abs().max().clamp(min=torch.finfo(other.dtype).tiny))


def _torch_export(program: Any, names: Sequence[str]) -> bytes:
    file = io.BytesIO()
    torch.export.save(program, file)
    return file.getvalue()


def _run_torch_export(content: bytes, given: Sequence[Tensor]) -> Tensor:
    image: Tensor = torch.export.load(io.BytesIO(content)).module()(*given)
    return image


def _onnx(program: Any, names: Sequence[str]) -> bytes:
    optional("onnxscript", "export")
    made: Any = torch.onnx.export(
        program,
        input_names=list(names),
        output_names=["image"],
        dynamo=True,
        verbose=False,
        optimize=len(program.graph.nodes) < LARGE,
    )
    content: bytes = made.model_proto.SerializeToString()
    return content


def _run_onnx(content: bytes, given: Sequence[Tensor]) -> Tensor:
    session = optional("onnxruntime", "export").InferenceSession(
        content, providers=["CPUExecutionProvider"]
    )
    named = zip((one.name for one in session.get_inputs()), given, strict=True)
    return torch.from_numpy(session.run(None, {name: t.numpy() for name, t in named})[0])


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings of solves, which the comparison replaces, and those of the exporter."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


@contextmanager
def _refusals(form: str) -> Iterator[None]:
    """Errors of tracing and translation as one that names the operation."""
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:  # of several packages, without a common class
        reason, place, cause = "", "", error
        while cause is not None:
            for frame, _ in walk_tb(cause.__traceback__):
                own, home = frame.f_locals.get("self"), frame.f_globals.get("__name__", "")
                if home[:5] != "torch" and (isinstance(own, nn.Module) or is_dataclass(own)):
                    place = f"{type(own).__name__}.{frame.f_code.co_name}: "
            lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
            reason, cause = place + (lines or [type(cause).__name__])[0], cause.__cause__  # type: ignore[assignment]
        raise ConfigError(f"format = {form}: cannot be exported: {reason}. {OTHERS}") from error
