"""Where a Lanczos run lives: kinds of runs with the same methods.

| file             | what it holds                                                              |
|------------------|----------------------------------------------------------------------------|
| `host_run`       | `HostRun`: NumPy memory and the compiled CPU engine, real or complex       |
| `device_run`     | `DeviceRun`: GPU memory and the CUDA kernels                               |
| `shared_device_run` | `SharedDeviceRun`: a step's phases with collectives of many GPUs between them |
| `far_space`      | runs with restarts, for eigenpairs: `DeviceSpace` on a GPU, `SharedSpace` over ranks |
| `far_vectors`    | arithmetic of vectors on a GPU, for arrays of any library, and over ranks  |
| `long_vectors`   | what searches do with rows of vectors, NumPy's and far ones alike          |
| `array_run`      | `ArrayRun`: calls of NumPy (complex with restarts, generalized)            |
| `cuda`           | the compiled CUDA engine: whether it is there, transfers                   |
| `flat`           | sizes of a run that lies in a compiler's memory (XLA, torch.compile)       |
| `kinds`          | the array type that was passed in decides which run is used                |
"""
