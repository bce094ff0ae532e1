"""Lanczos with full reorthogonalization for any symmetric operator: eigenpairs, densities, spectral sums.

>>> import numpy as np
>>> import fastlanczos as fl
>>> d = np.linspace(-1.0, 2.0, 1000)
>>> r = fl.lanczos(lambda v: d * v, dim=1000, num_steps=120, seed=0)
>>> r.quadrature()[0][[0, -1]].round(3).tolist()
[-1.0, 2.0]
"""

import sys as _sys
from importlib.metadata import version as _version

from fastlanczos.density.density import Distances, SpectralDensity
from fastlanczos.density.estimate import spectral_density
from fastlanczos.eigenpairs.eigsh import eigsh
from fastlanczos.eigenpairs.results import EigshInfo, EigshState
from fastlanczos.errors import AsymmetryWarning, NonFiniteError, RankError
from fastlanczos.gauss.quadrature import quadrature
from fastlanczos.krylov.decomposition import lanczos
from fastlanczos.krylov.iteration import LanczosIteration
from fastlanczos.krylov.result import LanczosResult
from fastlanczos.ranks.operator import ShardedOperator
from fastlanczos.singular.svds import svds
from fastlanczos.sums.count import eigencount
from fastlanczos.sums.diagonal import diagonal
from fastlanczos.sums.estimate import DiagonalEstimate, Estimate
from fastlanczos.sums.multiply import funm_multiply
from fastlanczos.sums.trace import logdet, trace
from fastlanczos.system.config import get_include, get_library, show_config
from fastlanczos.system.threads import get_num_threads, set_num_threads

__version__ = _version("fastlanczos")

# Pickles of results that 0.1.0 wrote name the modules that these classes were in.
_sys.modules["fastlanczos.result"] = _sys.modules[LanczosResult.__module__]

__all__ = [
    "AsymmetryWarning",
    "DiagonalEstimate",
    "Distances",
    "EigshInfo",
    "EigshState",
    "Estimate",
    "LanczosIteration",
    "LanczosResult",
    "NonFiniteError",
    "RankError",
    "ShardedOperator",
    "SpectralDensity",
    "diagonal",
    "eigencount",
    "eigsh",
    "funm_multiply",
    "get_include",
    "get_library",
    "get_num_threads",
    "lanczos",
    "logdet",
    "quadrature",
    "set_num_threads",
    "show_config",
    "spectral_density",
    "svds",
    "trace",
]
