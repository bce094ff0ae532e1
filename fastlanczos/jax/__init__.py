"""Lanczos inside JAX's compiled programs: under jit, vmap and grad, in XLA's memory.

Outside of jit the functions of `fastlanczos` take JAX arrays and callables as they are.

| file        | what it holds                                                         |
|-------------|-----------------------------------------------------------------------|
| `engine`    | the engine's step and quadrature as calls that XLA makes              |
| `run`       | the public functions `lanczos` and `quadrature`                       |
| `forms`     | the public functions `quadratic_form` and `trace`, with derivatives   |
| `density`   | the public function `spectral_density`                                |
"""

try:
    import jax as _jax  # noqa: F401
except ImportError:
    raise ImportError("fastlanczos.jax needs JAX: pip install 'fastlanczos[jax]'") from None

from fastlanczos.jax.density import SpectralMeasure, spectral_density
from fastlanczos.jax.forms import TraceEstimate, quadratic_form, trace
from fastlanczos.jax.run import LanczosArrays, lanczos, quadrature

__all__ = [
    "LanczosArrays",
    "SpectralMeasure",
    "TraceEstimate",
    "lanczos",
    "quadratic_form",
    "quadrature",
    "spectral_density",
    "trace",
]
