"""Curvature matrices of a torch model as operators: Hessian, Gauss-Newton, Fisher.

| file              | what it holds                                                             |
|-------------------|---------------------------------------------------------------------------|
| `hessian`         | `HessianOperator`                                                         |
| `gauss_newton`    | `GGNOperator`                                                             |
| `fisher`          | `FisherOperator`                                                          |
| `jacobian`        | `JacobianOperator`: what Gauss-Newton and Fisher share                    |
| `operator`        | `CurvatureOperator`: the public methods that all three share              |
| `products`        | products through graphs that are kept, rebuilt, or on disk                |
| `graphs`          | the graph of a gradient and products through it                           |
| `differences`     | products from differences of gradients or outputs                         |
| `compiled`        | products compiled by `torch.compile`                                      |
| `schedule`        | `Schedule`: how products are computed, and what fits in memory            |
| `schedule_choice` | the choice of a schedule, from measurements of the first batch            |
| `peak_memory`     | the memory that operations hold at their peak                             |
| `memory`          | `Memory`: what a run needs, in bytes                                      |
| `preconditioned`  | P^1/2 H P^1/2 with an optimizer's second moments                          |
| `replicas`        | parts of the data on many ranks: sums over them, vectors shared out       |
| `dropout`         | dropout without a seed, refused                                           |
| `weight_decay`    | the diagonal that weight decay adds                                       |
| `concentration`   | `gradient_concentration`: where the gradient lies in the spectrum         |
"""
