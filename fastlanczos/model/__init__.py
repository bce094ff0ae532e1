"""The mean loss of a torch model over a data set, as a function of the model's parameters. The model is not changed.

| file           | what it holds                                                                      |
|----------------|------------------------------------------------------------------------------------|
| `parameters`   | which parameters, and flat vectors of them                                         |
| `batches`      | one batch: samples, device, splitting and merging; the data set as an iterator     |
| `pieces`       | a whole data set, piece by piece: sums over batches                                |
| `losses`       | the loss of a batch as a sum, and the divisor of the mean                          |
| `function`     | `ModelFunction`: the loss at given parameters                                      |
| `interception` | torch functions replaced while the model runs                                      |
| `sharded`      | models whose parameters are DTensors (FSDP2, tensor parallel): gathered            |
| `gathering`    | parameters of FSDP2 gathered module by module, differentiably                      |
| `statistics`   | which statistics batch norm uses                                                   |
| `activations`  | activations that modules write out in several operations                           |
| `checkpoints`  | activation checkpointing: what is computed again, and with which parameters        |
"""
