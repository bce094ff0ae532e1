"""fastlanczos/curvature/peak_memory.py: what comes and goes is counted, and what was there is not."""

import pytest

torch = pytest.importorskip("torch")

from fastlanczos.curvature.peak_memory import PeakMemory  # noqa: E402


def test_bytes_that_are_alive_and_the_most_that_were():
    known = torch.ones(1000)
    with PeakMemory([known]) as memory:
        twice = known * 2
        assert memory.now == memory.peak == 4000
        view = twice[10:]
        view.add_(1)
        assert memory.now == 4000  # neither a view nor what is done in place is new
        (known + 1) + 1
        assert (memory.now, memory.peak) == (4000, 12000)
        del twice
        assert memory.now == 4000  # the view still holds it
        del view
        assert memory.now == 0
        memory.restart()
        assert memory.peak == 0


def test_what_differentiation_makes_counts():
    x = torch.ones(1000, requires_grad=True)
    with PeakMemory([x]) as memory:
        y = (x.tanh() ** 2).sum()
        forward = memory.now
        torch.autograd.grad(y, x)
        assert forward >= 4000
        assert memory.peak >= forward + 4000
    assert memory.now <= forward
