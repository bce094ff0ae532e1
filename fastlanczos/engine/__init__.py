"""Where a Lanczos run lives: three kinds of runs with the same methods.

| file         | what it holds                                                              |
|--------------|----------------------------------------------------------------------------|
| `host_run`   | `HostRun`: NumPy memory and the compiled CPU engine                        |
| `device_run` | `DeviceRun`: GPU memory and the CUDA kernels                               |
| `array_run`  | `ArrayRun`: calls of the arrays' own library (complex, generalized)        |
| `cuda`       | the compiled CUDA engine: whether it is there, transfers                   |
| `kinds`      | the array type that was passed in decides which run is used                |
"""
