"""Singular triplets of matrices and operators of any shape: scipy's `svds` on Lanczos.

| file          | what it holds                                                                |
|---------------|------------------------------------------------------------------------------|
| `svds`        | the public function: arguments, the choice of a method, results              |
| `rectangular` | A of any shape and kind, centred if asked for, as products both ways         |
| `levels`      | a search, and again in what it leaves, until all values are known            |
| `gram`        | the operator of the largest values: B^H B                                    |
| `inverse`     | the operator of the smallest values of a sparse matrix: (B^H B)^-1           |
| `triplets`    | Rayleigh-Ritz with A itself, and residuals                                   |
| `dense`       | matrices that are written out, for LAPACK                                    |
"""
