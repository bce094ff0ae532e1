"""Where a Lanczos run lives: kinds of runs with the same methods.

| file             | what it holds                                                              |
|------------------|----------------------------------------------------------------------------|
| `host_run`       | `HostRun`: NumPy memory and the compiled CPU engine                        |
| `device_run`     | `DeviceRun`: GPU memory and the CUDA kernels                               |
| `device_space`   | `DeviceSpace`: the same with restarts, for eigenpairs                      |
| `device_vectors` | arithmetic of vectors on a GPU, for arrays of any library                  |
| `array_run`      | `ArrayRun`: calls of NumPy (complex, generalized)                          |
| `cuda`           | the compiled CUDA engine: whether it is there, transfers                   |
| `kinds`          | the array type that was passed in decides which run is used                |
"""
