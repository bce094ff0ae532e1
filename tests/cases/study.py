"""A study small enough for tests."""

from fastlanczos.study.settings import Settings

TINY = Settings(
    seeds=1,
    max_seeds=1,
    steps=6,
    drop_at=4,
    measure_at=(0, 4, 6),
    population_at=(4,),
    descend_at=(4,),
    samples=16,
    k=2,
    num_probes=2,
    num_steps=6,
    descent_steps=3,
    batch_size=16,
    width=2,
    blocks=(1, 1),
)
