"""Gauss quadrature rules from tridiagonal matrices.

| file         | what it holds                                              |
|--------------|------------------------------------------------------------|
| `quadrature` | nodes and weights of a tridiagonal matrix                  |
| `truncation` | the error that a finite number of Lanczos steps leaves     |
| `brackets`   | rules that hold an integral between them                   |
"""
