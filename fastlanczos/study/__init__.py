"""The paper's experiments as commands: `fastlanczos demo` and `fastlanczos study`.

| file         | what it holds                                                        |
|--------------|----------------------------------------------------------------------|
| `demo`       | a small network's density, estimated and exact                       |
| `run`        | the whole study; a study that was stopped is continued               |
| `settings`   | sizes, seeds and schedules                                           |
| `networks`   | the networks that are compared                                       |
| `training`   | one network trained, measured and experimented with                  |
| `descent`    | gradient descent with and without the top eigenspace                 |
| `validation` | the estimate against the exact density                               |
| `findings`   | the paper's claims, with measured numbers and verdicts               |
| `images`     | digits, MNIST, CIFAR-10                                              |
"""
