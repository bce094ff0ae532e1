"""Eigenpairs of symmetric and Hermitian operators and pencils, scipy's `eigsh` on thick-restart Lanczos.

| file                 | what it holds                                                             |
|----------------------|---------------------------------------------------------------------------|
| `eigsh`              | the public function: arguments, the choice of a way, results              |
| `wanted`             | what `which` means                                                        |
| `pencil`             | A, or A and M: the operator to iterate with, its vectors, its results     |
| `spectral_transform` | shift-invert, buckling, Cayley                                            |
| `thick_restart`      | the search                                                                |
| `chebyshev`          | filters that spread out the wanted end of a spectrum                      |
| `multiplier`         | products with the vectors of a run, filtered and counted                  |
| `rayleigh_ritz`      | what the operator itself says of a space                                  |
| `dense_pencil`       | small problems, for LAPACK                                                |
| `results`            | pairs, the state that a callback sees, what is raised without all of them |
"""
