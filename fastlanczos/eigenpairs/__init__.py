"""Eigenpairs of symmetric and Hermitian operators and pencils: scipy's `eigsh` on Lanczos.

| file                 | what it holds                                                                 |
|----------------------|-------------------------------------------------------------------------------|
| `eigsh`              | the public function: arguments, the choice of a method, results               |
| `wanted`             | the meaning of `which`                                                        |
| `pencil`             | A, or A and M: the operator to iterate with, its vectors, its results         |
| `stack`              | many matrices in one call                                                     |
| `interval`           | all pairs in an interval                                                      |
| `spectral_transform` | shift-invert, buckling, Cayley                                                |
| `plan`               | which search, and in how many rows                                            |
| `search`             | the search by plan                                                            |
| `smallest_magnitude` | which="SM"                                                                    |
| `growing`            | the search with the fewest products                                           |
| `criteria`           | when a pair has converged, and when a value is better                         |
| `found`              | what a growing search has found                                               |
| `shadows`            | what all rows tell of a hidden eigenvector                                    |
| `judges`             | whether what a growing search has found holds                                 |
| `looks`              | when a growing chain is looked at again                                       |
| `start_block`        | several start vectors, as starts of chains                                    |
| `chain`              | the spaces it grows in: their chains, rows that are set aside                 |
| `engine_space`       | ... of single vectors, in the compiled engine                                 |
| `block_space`        | ... of blocks, in NumPy: complex problems, shifts, inner products             |
| `hidden`             | what a random start may hide                                                  |
| `davidson`           | the search with a preconditioner                                              |
| `thick_restart`      | the search with cheap products                                                |
| `rows`               | locked eigenvectors and the active Krylov space, restarts                     |
| `complement`         | rounds in the complement of what is locked: multiplicities                    |
| `clusters`           | eigenvalues too close to be resolved, locked as mixtures                      |
| `verification`       | a product for every pair, and corrections                                     |
| `filter_choice`      | when a filter is exchanged                                                    |
| `chebyshev`          | filters that spread out the wanted end of a spectrum                          |
| `multiplier`         | products with the vectors of a run, filtered and counted                      |
| `rayleigh_ritz`      | Rayleigh-Ritz with A itself on some rows                                      |
| `on_device`          | operators on a GPU for searches that stay there: solvers given, complex ones  |
| `on_host`            | operators on a GPU for searches on the CPU: shifts that are factored          |
| `dense_pencil`       | small problems, for LAPACK                                                    |
| `results`            | pairs, the callback's state, the exception without all pairs                  |
"""
