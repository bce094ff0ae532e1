"""Derivatives of sums, of f(A) b and of eigenpairs with respect to what A depends on, for PyTorch's autograd.

No graph of a Lanczos run is kept. A derivative takes products with the graph on, when it is asked for: the sum of
`left' dA right` over a few pairs of vectors.

| file          | what it holds                                                         |
|---------------|-----------------------------------------------------------------------|
| `operand`     | A as an operator, the tensors that it depends on, and their gradients |
| `dependence`  | which tensors a callable's products depend on                         |
| `derivatives` | f and f', by name or through autograd; divided differences            |
| `frechet`     | the adjoint of A -> x' f(A) b from two Krylov spaces                   |
| `sums`        | the public functions `trace` and `logdet`                             |
| `estimate`    | their result                                                          |
| `pairs`       | what the runs of their probes leave for the gradient                  |
| `compiled`    | the same as one operator, inside torch.compile                        |
| `diagonal`    | the public function `diagonal`                                        |
| `multiply`    | the public function `funm_multiply`                                   |
| `eigenpairs`  | the public function `eigsh`                                           |
| `singular`    | the public function `svds`                                            |
| `written_out` | operators as matrices, where that is less work than probes            |
| `once`        | gradients that have no derivative of their own say so                 |
| `resolvent`   | (lambda - A)^+ b, for the derivatives of vectors                      |
"""
