"""Forward models; importing any of them makes `A @ B`, `A + B`, `s * A` and `A.H` available."""

from unfold.physics import wrapped  # noqa: F401 - registers the algebra of operators
