"""Runs of a study in several processes, each with its share of the threads; one at a time where that is one."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Protocol

import torch

from fastlanczos.system.threads import set_num_threads

__all__ = ["Trained", "Workers"]


class Trained(Protocol):
    """A run that knows what of it is not done yet; it is sent to another process."""

    def missing(self) -> int:
        """Return how many things are yet to be done."""

    def perform(self, done: Callable[[str], Any]) -> None:
        """Do them, and tell of each."""


_told: Any = None  # in a worker: where it says what is done


class Workers:
    """As many processes as `jobs`, by default one a core, begun when they are first needed.

    The networks are small: two processes of one thread train them nearly twice as fast as one of two.
    """

    def __init__(self, jobs: int | None = None) -> None:
        self.jobs = jobs or os.cpu_count() or 1
        self._pool: ProcessPoolExecutor | None = None
        self._told: Any = None

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=kind is None, cancel_futures=True)

    def perform(self, runs: Sequence[Trained], done: Callable[[str], Any]) -> None:
        """Perform all of them; `done(what)` is told of each thing that was not there before."""
        runs = [run for run in runs if run.missing()]
        if self.jobs == 1 or len(runs) < 2:
            for run in runs:
                run.perform(done)
            return
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._told = context.Manager().Queue()
            threads = max(1, (os.cpu_count() or 1) // self.jobs)
            self._pool = ProcessPoolExecutor(self.jobs, context, _prepare, (self._told, threads))
        futures = [self._pool.submit(_perform, run) for run in runs]
        try:
            while not all(future.done() for future in futures):
                self._tell(done, 0.2)
            self._tell(done, 0.0)
            for future in futures:
                future.result()
        except BrokenProcessPool:
            raise RuntimeError(
                "a process of the study was killed, perhaps for memory: run it again to go on, with --jobs 1 if it "
                "happens again"
            ) from None

    def _tell(self, done: Callable[[str], Any], seconds: float) -> None:
        while True:
            try:
                done(self._told.get(timeout=seconds) if seconds else self._told.get_nowait())
            except queue.Empty:
                return
            seconds = 0.0


def _prepare(told: Any, threads: int) -> None:
    global _told
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a traceback of its own
    _told = told
    torch.set_num_threads(threads)
    set_num_threads(threads)


def _perform(run: Trained) -> None:
    run.perform(_told.put)
