"""Gauss quadrature rules from tridiagonal matrices.

| file         | what it holds                                              |
|--------------|------------------------------------------------------------|
| `quadrature` | nodes and weights of a tridiagonal matrix                  |
| `truncation` | the error that a finite number of Lanczos steps leaves     |
| `residuals`  | how far the measure at a node spreads around it            |
| `brackets`   | rules that hold an integral between them                   |
"""
