"""Spectral sums: tr f(A), log det A, diag f(A), f(A) b, eigenvalue counts.

| file             | what it holds                                                             |
|------------------|---------------------------------------------------------------------------|
| `trace`          | the public functions `trace` and `logdet`                                 |
| `count`          | the public function `eigencount`                                          |
| `diagonal`       | the public function `diagonal` and its result                             |
| `multiply`       | the public function `funm_multiply`                                       |
| `estimate`       | `Estimate`: value, error, interval                                        |
| `accuracy`       | steps and probes are added until the requested accuracy is reached        |
| `samples`        | Lanczos runs from probes, which can be continued                          |
| `rules`          | what their tridiagonal matrices give of a sum, and of its error           |
| `exact`          | factorizations and eigenvalues, where they are less work                  |
| `deflation`      | the part of a sum that one run knows exactly                              |
| `preconditioner` | a kernel matrix as the sum of one of low rank and a diagonal              |
| `xtrace`         | the XTrace estimator                                                      |
| `functions`      | f by name, and where it is defined                                        |
| `products`       | A times a block                                                           |
"""
