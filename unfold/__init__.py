"""Unfolded and deep-equilibrium networks for imaging inverse problems.

Names load when they are first used, so that `import unfold` costs nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unfold.algorithms.admm import ADMM as ADMM
    from unfold.algorithms.analysis_pdhg import AnalysisPDHG as AnalysisPDHG
    from unfold.algorithms.condat_vu import CondatVu as CondatVu
    from unfold.algorithms.davis_yin import DavisYin as DavisYin
    from unfold.algorithms.drs import DRS as DRS
    from unfold.algorithms.fista import FISTA as FISTA
    from unfold.algorithms.gd import GD as GD
    from unfold.algorithms.heavy_ball import HeavyBall as HeavyBall
    from unfold.algorithms.hqs import HQS as HQS
    from unfold.algorithms.landweber import Landweber as Landweber
    from unfold.algorithms.learned_primal_dual import DualBlock as DualBlock
    from unfold.algorithms.learned_primal_dual import LearnedPrimalDual as LearnedPrimalDual
    from unfold.algorithms.learned_primal_dual import PrimalBlock as PrimalBlock
    from unfold.algorithms.mirror_descent import MirrorDescent as MirrorDescent
    from unfold.algorithms.osem import OSEM as OSEM
    from unfold.algorithms.pdhg import PDHG as PDHG
    from unfold.algorithms.pgd import PGD as PGD
    from unfold.algorithms.pidal import PIDAL as PIDAL
    from unfold.algorithms.preconditioned_pdhg import PreconditionedPDHG as PreconditionedPDHG
    from unfold.algorithms.proximal_mirror_descent import (
        ProximalMirrorDescent as ProximalMirrorDescent,
    )
    from unfold.algorithms.richardson_lucy import RichardsonLucy as RichardsonLucy
    from unfold.algorithms.sirt import SIRT as SIRT
    from unfold.builders import DEQ_builder as DEQ_builder
    from unfold.builders import unfolded_builder as unfolded_builder
    from unfold.denoisers.dncnn import ConditionalDnCNN as ConditionalDnCNN
    from unfold.denoisers.dncnn import DnCNN as DnCNN
    from unfold.denoisers.smooth import SmoothDnCNN as SmoothDnCNN
    from unfold.fidelities.amplitude import Amplitude as Amplitude
    from unfold.fidelities.huber import Huber as Huber
    from unfold.fidelities.l2 import L2 as L2
    from unfold.fidelities.l2_ball import L2Ball as L2Ball
    from unfold.models.classical import Classical as Classical
    from unfold.models.deq import DEQ as DEQ
    from unfold.models.unfolded import Unfolded as Unfolded
    from unfold.physics.blur.blur import Blur as Blur
    from unfold.physics.blur.blur import ValidBlur as ValidBlur
    from unfold.physics.blur.super_resolution import SuperResolution as SuperResolution
    from unfold.physics.denoising import Denoising as Denoising
    from unfold.physics.inpainting import Inpainting as Inpainting
    from unfold.physics.mri.coils import estimate_maps as estimate_maps
    from unfold.physics.noise.base import Gaussian as Gaussian
    from unfold.physics.noise.base import Poisson as Poisson
    from unfold.priors.box import Box as Box
    from unfold.priors.general_tikhonov import GeneralTikhonov as GeneralTikhonov
    from unfold.priors.gradient_step import GradientStep as GradientStep
    from unfold.priors.group_l1 import GroupL1 as GroupL1
    from unfold.priors.nonnegative import NonNegative as NonNegative
    from unfold.priors.pnp import PnP as PnP
    from unfold.priors.red import RED as RED
    from unfold.priors.score import Score as Score
    from unfold.priors.sum import Sum as Sum
    from unfold.priors.tikhonov import Tikhonov as Tikhonov
    from unfold.priors.tv import TV as TV
    from unfold.priors.tv_anisotropic import AnisotropicTV as AnisotropicTV
    from unfold.priors.wavelet import Wavelet as Wavelet
    from unfold.priors.wavelet_bands import WaveletBands as WaveletBands
    from unfold.priors.weighted import Weighted as Weighted
    from unfold.random import Draws as Draws
    from unfold.reconstructor import Reconstructor as Reconstructor

__version__ = "0.1.0"

_HOMES = {
    "ADMM": "unfold.algorithms.admm",
    "PDHG": "unfold.algorithms.pdhg",
    "PGD": "unfold.algorithms.pgd",
    "FISTA": "unfold.algorithms.fista",
    "GD": "unfold.algorithms.gd",
    "HQS": "unfold.algorithms.hqs",
    "DRS": "unfold.algorithms.drs",
    "HeavyBall": "unfold.algorithms.heavy_ball",
    "DavisYin": "unfold.algorithms.davis_yin",
    "Landweber": "unfold.algorithms.landweber",
    "SIRT": "unfold.algorithms.sirt",
    "RichardsonLucy": "unfold.algorithms.richardson_lucy",
    "OSEM": "unfold.algorithms.osem",
    "MirrorDescent": "unfold.algorithms.mirror_descent",
    "ProximalMirrorDescent": "unfold.algorithms.proximal_mirror_descent",
    "PreconditionedPDHG": "unfold.algorithms.preconditioned_pdhg",
    "PIDAL": "unfold.algorithms.pidal",
    "LearnedPrimalDual": "unfold.algorithms.learned_primal_dual",
    "PrimalBlock": "unfold.algorithms.learned_primal_dual",
    "DualBlock": "unfold.algorithms.learned_primal_dual",
    "CondatVu": "unfold.algorithms.condat_vu",
    "AnalysisPDHG": "unfold.algorithms.analysis_pdhg",
    "DEQ_builder": "unfold.builders",
    "unfolded_builder": "unfold.builders",
    "ConditionalDnCNN": "unfold.denoisers.dncnn",
    "DnCNN": "unfold.denoisers.dncnn",
    "L2": "unfold.fidelities.l2",
    "Classical": "unfold.models.classical",
    "DEQ": "unfold.models.deq",
    "Unfolded": "unfold.models.unfolded",
    "Blur": "unfold.physics.blur.blur",
    "ValidBlur": "unfold.physics.blur.blur",
    "Denoising": "unfold.physics.denoising",
    "Gaussian": "unfold.physics.noise.base",
    "Poisson": "unfold.physics.noise.base",
    "estimate_maps": "unfold.physics.mri.coils",
    "Inpainting": "unfold.physics.inpainting",
    "SuperResolution": "unfold.physics.blur.super_resolution",
    "PnP": "unfold.priors.pnp",
    "Tikhonov": "unfold.priors.tikhonov",
    "TV": "unfold.priors.tv",
    "Wavelet": "unfold.priors.wavelet",
    "SmoothDnCNN": "unfold.denoisers.smooth",
    "Amplitude": "unfold.fidelities.amplitude",
    "Huber": "unfold.fidelities.huber",
    "L2Ball": "unfold.fidelities.l2_ball",
    "Box": "unfold.priors.box",
    "GeneralTikhonov": "unfold.priors.general_tikhonov",
    "GradientStep": "unfold.priors.gradient_step",
    "GroupL1": "unfold.priors.group_l1",
    "NonNegative": "unfold.priors.nonnegative",
    "RED": "unfold.priors.red",
    "Score": "unfold.priors.score",
    "Sum": "unfold.priors.sum",
    "AnisotropicTV": "unfold.priors.tv_anisotropic",
    "WaveletBands": "unfold.priors.wavelet_bands",
    "Weighted": "unfold.priors.weighted",
    "Draws": "unfold.random",
    "Reconstructor": "unfold.reconstructor",
}

__all__ = sorted([*_HOMES, "__version__"])


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'unfold' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return list(__all__)
