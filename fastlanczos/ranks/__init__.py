"""Ranks of a job that share a problem out among them.

| file       | what it holds                                                                    |
|------------|----------------------------------------------------------------------------------|
| `group`    | what a group of ranks is asked: torch's process groups, mpi4py's communicators    |
| `shared`   | vectors shared out over them, and failures told                                  |
| `portions` | independent work shared out over them                                            |
| `dtensors` | a run's rows as DTensors, for torch.distributed.checkpoint                         |
| `operator` | the public class `ShardedOperator`: rows of a matrix shared out over ranks       |
"""
