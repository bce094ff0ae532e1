"""The Lanczos iteration and whole runs of it.

| file            | what it holds                                                          |
|-----------------|------------------------------------------------------------------------|
| `decomposition` | the public function `lanczos`                                          |
| `iteration`     | `LanczosIteration`: the caller multiplies, the iteration does the rest |
| `state`         | the saved state of an iteration, checked before it is used             |
| `result`        | `LanczosResult`                                                        |
| `drive`         | the loop: product, step, progress bar, callback                        |
| `probe_runs`    | runs from several probes, some of them in lockstep                     |
| `memory_plan`   | how many probes run at once                                            |
"""
