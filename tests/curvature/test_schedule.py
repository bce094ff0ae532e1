"""fastlanczos/curvature/schedule.py."""

import time

import pytest

torch = pytest.importorskip("torch")

from fastlanczos.curvature.schedule import GraphSize, Schedule, choose, pays_together  # noqa: E402

CPU = torch.device("cpu")
MIB = 2**20


@pytest.mark.parametrize(
    ("memory", "separable", "expected"),
    [
        (100 * MIB, True, ("kept", None)),
        (80 * MIB, True, ("rebuilt", None)),
        (35 * MIB, True, ("rebuilt", 50)),
        (35 * MIB, False, ("on disk", None)),
        (1000, True, ("on disk", None)),
    ],
)
def test_the_fastest_way_that_fits_is_chosen(memory, separable, expected):
    # 3 batches of 100 samples, 10 MiB of graph each.
    size = GraphSize(0.0, 0.1 * MIB)
    schedule = choose(size, 100, 300, lambda: separable, memory, CPU)
    assert (schedule.graphs, schedule.batch_size) == expected
    assert schedule.graph_bytes == 30 * MIB


def test_small_batches_are_put_together():
    schedule = choose(GraphSize(0.0, 1000.0), 10, 200, lambda: True, MIB * 100, CPU)
    assert schedule.batch_size == 200
    assert choose(GraphSize(0.0, 1000.0), 10, 200, lambda: False, MIB * 100, CPU).batch_size is None
    assert choose(GraphSize(0.0, MIB), 10, 200, lambda: True, MIB * 1000, CPU).batch_size is None


def test_what_takes_longer_together_does_not_pay():
    assert pays_together(lambda: time.sleep(0.01), lambda: time.sleep(0.01), 4)
    assert not pays_together(lambda: time.sleep(0.005), lambda: time.sleep(0.03), 2)

    def impossible():
        raise RuntimeError("no batching rule")

    assert not pays_together(lambda: None, impossible, 2)


def test_it_says_what_it_is_and_what_it_may_be():
    assert str(Schedule("kept", together=10, graph_bytes=3 * MIB)) == "graphs kept (3 MiB in all), 10 vectors together"
    assert (
        str(Schedule("rebuilt", batch_size=8, channels_last=True))
        == "graphs rebuilt in pieces of 8 samples, channels last"
    )
    assert str(Schedule("forward", together=1)) == "forward over reverse, vectors one by one"
    with pytest.raises(ValueError, match="graphs must be one of kept, rebuilt, on disk, forward; got 'all'"):
        Schedule("all")
