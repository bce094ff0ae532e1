"""Singular triplets of matrices and operators of any shape: scipy's `svds` on Lanczos.

| file          | what it holds                                                                |
|---------------|------------------------------------------------------------------------------|
| `svds`        | the public function: arguments and results                                   |
| `task`        | one call: which way the triplets are found                                   |
| `rectangular` | A of any shape and kind, centred if asked for, as products both ways         |
| `bidiagonal`  | Golub and Kahan's bidiagonalization: the fewest products                     |
| `levels`      | a search, and again in what it leaves, until all values are known            |
| `gram`        | the operator of the largest values: B^H B                                    |
| `inverse`     | the operator of the smallest values of a sparse matrix: (B^H B)^-1           |
| `triplets`    | Rayleigh-Ritz with A itself, and residuals                                   |
| `dense`       | matrices that are written out, for LAPACK                                    |
"""
