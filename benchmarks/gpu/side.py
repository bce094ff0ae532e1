"""The GPU that parts.py measures on: a real one through torch, or the emulated one of a dry run."""

import statistics
import sys
import time
from pathlib import Path

import numpy as np


class TorchSide:
    """A real GPU; times are taken by its own clock."""

    def __init__(self):
        import torch

        self.torch = torch
        self.name = torch.cuda.get_device_name()
        self.large = True

    def array(self, values):
        """Return a copy on the GPU."""
        return self.torch.tensor(values, device="cuda")

    def normal(self, n):
        """Return a random vector, drawn there."""
        return self.torch.randn(n, dtype=self.torch.float64, device="cuda")

    def host(self, x):
        """Return a copy on the host."""
        return x.cpu().numpy()

    def seconds(self, calls):
        """Return how long each of the calls kept the GPU busy.

        The GPU is given something to do first, so that it does not wait for the host to launch what is measured.
        """
        times = []
        for call in calls:
            self.torch.cuda._sleep(2_000_000)
            begin, end = (self.torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            call()
            end.record()
            end.synchronize()
            times.append(begin.elapsed_time(end) / 1e3)
        return times

    def copy_bandwidth(self, entries):
        """Return bytes read and written a second by a copy on the device."""
        source, target = (self.torch.empty(entries, dtype=self.torch.float64, device="cuda") for _ in range(2))
        source.zero_()
        times = self.seconds([lambda: target.copy_(source)] * 9)
        return 16 * entries / statistics.median(times)


class EmulatedSide:
    """The emulated GPU: the same parts in miniature, on the wall clock, which means nothing there."""

    def __init__(self, folder):
        """`folder` keeps the compiled engine from one part to the next, where the tests do not keep one."""
        sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "csrc" / "cuda_emulation"))
        import fake_gpu

        from fastlanczos.arrays import frameworks
        from fastlanczos.engine import cuda

        self.gpu = fake_gpu.FakeGpu(fake_gpu.build(folder))
        self.Array = fake_gpu.Array
        cuda._cuda = self.gpu.module
        frameworks.FRAMEWORKS["fake_gpu"] = fake_gpu.Framework
        self.name = "emulated"
        self.large = False

    def array(self, values):
        """Return a copy on the emulated GPU."""
        return self.Array.of(self.gpu, values)

    def normal(self, n):
        """Return a random vector."""
        return self.array(np.random.default_rng(0).normal(size=n))

    def host(self, x):
        """Return a copy on the host."""
        return x.get()

    def seconds(self, calls):
        """Return how long each of the calls took."""
        times = []
        for call in calls:
            began = time.perf_counter()
            call()
            times.append(time.perf_counter() - began)
        return times

    def copy_bandwidth(self, entries):
        """Return what a copy on the host does."""
        source, target = np.zeros(entries), np.zeros(entries)
        return 16 * entries / statistics.median(self.seconds([lambda: np.copyto(target, source)] * 3))
