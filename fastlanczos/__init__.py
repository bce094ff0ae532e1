"""Reorthogonalized Lanczos for any matvec, and what follows from it: quadrature and eigenvalue densities.

>>> import numpy as np
>>> import fastlanczos as fl
>>> d = np.linspace(-1.0, 2.0, 1000)
>>> r = fl.lanczos(lambda v: d * v, dim=1000, num_steps=120, seed=0)
>>> r.quadrature()[0][[0, -1]].round(3).tolist()
[-1.0, 2.0]
"""

from importlib.metadata import version as _version

from fastlanczos.config import get_include, show_config
from fastlanczos.decomposition import lanczos
from fastlanczos.density import Distances, SpectralDensity
from fastlanczos.eigenpairs.eigsh import eigsh
from fastlanczos.eigenpairs.results import EigshState
from fastlanczos.errors import AsymmetryWarning, NonFiniteError
from fastlanczos.gauss import quadrature
from fastlanczos.iteration import LanczosIteration
from fastlanczos.result import LanczosResult
from fastlanczos.slq import spectral_density
from fastlanczos.sums import DiagonalEstimate, Estimate, diagonal, eigencount, funm_multiply, logdet, trace
from fastlanczos.threads import get_num_threads, set_num_threads

__version__ = _version("fastlanczos")

__all__ = [
    "AsymmetryWarning",
    "DiagonalEstimate",
    "Distances",
    "EigshState",
    "Estimate",
    "LanczosIteration",
    "LanczosResult",
    "NonFiniteError",
    "SpectralDensity",
    "diagonal",
    "eigencount",
    "eigsh",
    "funm_multiply",
    "get_include",
    "get_num_threads",
    "lanczos",
    "logdet",
    "quadrature",
    "set_num_threads",
    "show_config",
    "spectral_density",
    "trace",
]
