"""Lanczos inside of what torch.compile makes, and of CUDA graphs: nothing breaks the graph, nothing waits for a GPU.

| file        | what it holds                                                                   |
|-------------|---------------------------------------------------------------------------------|
| `operators` | step, rotation and quadrature as operators of PyTorch's, with their fake kernels |
| `run`       | the public functions `lanczos` and `quadrature`                                  |
"""
