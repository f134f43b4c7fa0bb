"""Unfolded and deep-equilibrium networks for imaging inverse problems.

Names load when they are first used, so that `import unfold` costs nothing; `__init__.pyi` lists
them (`make stubs`).
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
