"""The paper's experiments as commands: `fastlanczos demo` and `fastlanczos study`, and what is asked today.

| file         | what it holds                                                        |
|--------------|----------------------------------------------------------------------|
| `demo`       | a small network's density, estimated and exact                       |
| `run`        | the whole study; a study that was stopped is continued               |
| `settings`   | sizes, seeds and schedules                                           |
| `networks`   | the networks that are compared                                       |
| `training`   | one network trained, measured and experimented with                  |
| `descent`    | gradient descent with and without the top eigenspace                 |
| `validation` | the estimate against the exact density                               |
| `ladder`     | the claims that a small network may be too small for, at other sizes |
| `experiment` | an experiment of several runs: files, seeds, findings, page          |
| `transformer` | how different the blocks of a transformer's Hessian are, and Adam   |
| `text`       | characters to train it on                                            |
| `edge`       | sharpness under gradient descent and Adam                            |
| `rounds`     | seeds that are added until all claims are decided                    |
| `workers`    | runs in several processes                                            |
| `claims`     | the paper's claims, each as a number of the runs of a seed           |
| `sequential` | intervals that may be looked at after each seed                      |
| `findings`   | claims with measured numbers and verdicts                            |
| `images`     | digits, MNIST, CIFAR-10                                              |
"""
