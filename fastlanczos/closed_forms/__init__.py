"""Common operations of networks whose gradient is differentiated in closed form.

A product with the Hessian goes back through the gradient's own graph. What autograd derives for that is general: of
batch norm some thirty passes over the activations where eight do, of cross entropy ten operations where three do, of
attention seven arrays of the size of all pairs of tokens, and of a linear layer products that torch.vmap cannot fold
into one when several vectors go together. Here each operation is a pair of autograd functions: the operation, whose
backward is the second one, and that one's own backward.

Notation: `u...` is the cotangent of the gradient that it names, so `u_x` belongs to `grad_x`; `to_x` is what x gets.

| file            | what it holds                                                                   |
|-----------------|---------------------------------------------------------------------------------|
| `vectors`       | whether a product is one with several vectors, by torch.vmap                    |
| `replacements`  | which of torch's functions have a closed form, for which arguments              |
| `linear`        | x W^T + b                                                                       |
| `convolution`   | convolutions, in groups, with strides and dilations                             |
| `activation`    | functions of each entry alone                                                   |
| `batch_norm`    | normalization of channels over samples                                          |
| `layer_norm`    | normalization of each row, centered or not (RMSNorm)                            |
| `attention`     | scaled dot-product attention, in blocks over the queries                        |
| `embedding`     | rows of a table, without a dense gradient of the table                          |
| `cross_entropy` | cross entropy, in blocks of rows                                                |
"""
