"""Networks for other programs: y and the tensors of the operator as inputs."""

from torch import Tensor, nn

from unfold.physics.operator import Operator
from unfold.pytree import tensors, with_tensors
from unfold.reconstructor import Reconstructor
from unfold.typing import Image, Measurement


class Exportable(nn.Module):
    """x̂ from y and the tensors of the operator: kernels and masks are inputs, not constants.

    A trained network is exported once and serves every operator of the same shape:

        example = physics.operator_for(y)
        with torch.no_grad():
            program = torch.export.export(Exportable(net, example), (y, *tensors(example)))
        image = program.module()(y, *tensors(another))

    It works for unfolded networks whose operator has closed forms: a solve that stops by itself, an
    equilibrium or conjugate gradients, is no graph of fixed length.

    The operator is of the kind and the shapes that will be given; its own tensors are not used.
    """

    def __init__(self, reconstructor: Reconstructor, operator: Operator) -> None:
        super().__init__()
        self.reconstructor, self.operator = reconstructor, operator

    def forward(self, y: Measurement, *parts: Tensor) -> Image:
        """Reconstruct; `parts` are the operator's tensors, in the order of `tensors(operator)`."""
        assert len(parts) == len(tensors(self.operator))
        image: Image = self.reconstructor(y, with_tensors(self.operator, list(parts)))
        return image
