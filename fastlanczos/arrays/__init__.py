"""Array types of users: NumPy, torch, CuPy, JAX and Numba.

| file         | what it holds                                                            |
|--------------|--------------------------------------------------------------------------|
| `cpu`        | arrays on the CPU: dtypes, checks, conversion to what the engine takes   |
| `frameworks` | libraries with arrays on a GPU: allocation, conversion, streams          |
| `memory`     | how much memory there is, and what to say where it does not suffice      |
"""
