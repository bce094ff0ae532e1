"""The eigenvalue density: stochastic Lanczos quadrature and its result.

| file       | what it holds                                            |
|------------|----------------------------------------------------------|
| `estimate` | the public function `spectral_density`                   |
| `density`  | `SpectralDensity`: values, bands, moments, distances     |
| `picture`  | its plot                                                 |
| `file`     | its npz file                                             |
"""

# Pickles written by 0.1.0 name this module as the home of these classes.
from fastlanczos.density.density import Distances, SpectralDensity

__all__ = ["Distances", "SpectralDensity"]
