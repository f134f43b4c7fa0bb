"""What the solvers need of a linear map."""

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor

from unfold.typing import Scalar


class LinearMap(ABC):
    """A, sample by sample; a frozen dataclass, whose tensors may require gradients."""

    @abstractmethod
    def forward(self, x: Any) -> Tensor:
        """Ax."""

    @abstractmethod
    def adjoint(self, y: Any) -> Tensor:
        """A*y."""

    def normal(self, x: Any) -> Tensor:
        """A*Ax."""
        return self.adjoint(self.forward(x))

    def precondition(self, r: Any, gamma: Scalar) -> Tensor:
        """Near (I + γA*A)⁻¹r by a Hermitian positive definite map, for iterative solves; or r."""
        given: Tensor = r
        return given
