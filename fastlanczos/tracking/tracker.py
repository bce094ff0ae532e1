"""`SpectrumTracker`: when to measure the curvature of a network in training."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from typing import Any

from tqdm.auto import tqdm

from fastlanczos.arguments import as_dimension
from fastlanczos.curvature.operator import CurvatureOperator
from fastlanczos.errors import RankError
from fastlanczos.tracking.measure import measure
from fastlanczos.tracking.measurement import Measurement
from fastlanczos.tracking.pictures import draw_run
from fastlanczos.tracking.records import Records
from fastlanczos.tracking.sampling import Sample, drawn

__all__ = ["SpectrumTracker"]

Due = int | Collection[int] | Callable[[int], bool] | None


class SpectrumTracker:
    """Measures the curvature of a network at chosen steps of its training; training itself is not affected.

    Call `step()` after each step of the optimizer. With a directory, each measurement is written to a file. A run that
    was killed continues where it stopped: steps with a record are not measured again, and measurements have the same
    bits whether the run was interrupted or not. If H is over many ranks all of them call `step`: all measure, and rank
    0 keeps the records, calls the writers, and decides by its loss.

    Parameters
    ----------
    H : HessianOperator, GGNOperator or FisherOperator
        The curvature of the network in training.
    every : int, collection of int, callable or None
        Measure at each multiple of a number of steps, at the given steps, or if `every(step)` is true.
    directory : path, optional
        Folder of the records. Without it they are kept in memory.
    loss_change : float, optional
        Measure also when the loss passed to `step` differs by this share (0.1: 10%) from that at the last measurement.
    samples : int, optional
        Measure on this many samples, drawn once from H's data. Each measurement then states the error of that choice.
    k : int
        Number of largest eigenvalues, and dimension of the space for the gradient's concentration.
    num_probes, num_steps : int
        As in `spectral_density`.
    seed : int
        Of probes and samples.
    optimizer : torch.optim.Optimizer, optional
        Where the learning rate is read from. `lightning_callback` and `trainer_callback` take it from their trainers
        where none is given.
    writers : sequence of callables
        Each is called with every new Measurement: `tensorboard_writer`, `wandb_writer`, or your own.
    start : int
        Steps done before, if training continues from a checkpoint.
    warm : bool
        Look for the eigenvectors from those of the measurement before, which lie in the directory (k vectors), so that
        a run that was killed has the same bits. Not for operators over ranks.
    progress : bool
        Show what is measured.

    Attributes
    ----------
    count : int
        Steps so far.
    optimizer : torch.optim.Optimizer or None
        Where the learning rate is read from; may be set later.
    records : Records or None
        The files.
    measurements : list of Measurement
        All so far, by step, those of earlier runs in the directory too (on rank 0, if there are many).

    Raises
    ------
    TypeError, ValueError
        For arguments of the wrong kind, and if the directory holds measurements with other settings.

    Warns
    -----
    DamagedRecordWarning
        For each record that cannot be read; it is measured again when training comes to its step.

    References
    ----------
    Ghorbani, Krishnan and Xiao (arXiv 1901.10159), sections 3 and 4.

    Examples
    --------
    >>> import torch, fastlanczos.torch as flt
    >>> model = torch.nn.Linear(3, 2)
    >>> x, y = torch.randn(40, 3), torch.randint(2, (40,))
    >>> loss_fn, optimizer = torch.nn.functional.cross_entropy, torch.optim.SGD(model.parameters(), lr=0.1)
    >>> H = flt.HessianOperator(model, loss_fn, (x, y))
    >>> tracker = flt.SpectrumTracker(H, every=5, optimizer=optimizer, k=3, num_steps=8)
    >>> for _ in range(10):
    ...     optimizer.zero_grad()
    ...     loss_fn(model(x), y).backward()
    ...     optimizer.step()
    ...     _ = tracker.step()
    >>> [(m.step, m.learning_rate, len(m.top)) for m in tracker.measurements]
    [(5, 0.1, 3), (10, 0.1, 3)]
    """

    def __init__(
        self,
        H: CurvatureOperator,
        every: Due = 100,
        directory: str | os.PathLike[str] | None = None,
        *,
        loss_change: float | None = None,
        samples: int | None = None,
        k: int = 10,
        num_probes: int = 4,
        num_steps: int = 60,
        seed: int = 0,
        optimizer: Any = None,
        writers: Collection[Callable[[Measurement], Any]] = (),
        start: int = 0,
        warm: bool = False,
        progress: bool = False,
    ) -> None:
        if not isinstance(H, CurvatureOperator):
            raise TypeError(f"H must be a curvature operator such as HessianOperator, got {type(H).__name__}")
        if loss_change is not None and not loss_change > 0:
            raise ValueError(f"loss_change must be positive (0.1 for 10%), got {loss_change!r}")
        self._due = _due(every)
        self._every = every
        self._loss_change, self._last_loss = loss_change, float("nan")
        self._settings = {
            "k": as_dimension(k, "k"),
            "num_probes": as_dimension(num_probes, "num_probes"),
            "num_steps": as_dimension(num_steps, "num_steps"),
            "seed": int(seed),
        }
        self._sample: Sample | None = None
        self._warm = bool(warm)
        self._vectors: Any = None  # of the last measurement, where no directory has them
        self._group = None if H.shared is None else H.shared.group
        if self._warm and self._group is not None:
            raise ValueError("warm=True is not for an operator over ranks: leave it out")
        if samples is not None and self._group is not None:
            raise ValueError("samples= draws from one rank's data: leave it out for an operator over ranks")
        if samples is not None and not H.normalize:
            raise ValueError(
                "samples= measures on a part of the data, and the sum over a part is not the sum over all: build the "
                "operator with normalize=True"
            )
        if samples is not None:
            self._sample = drawn(H.data, as_dimension(samples, "samples"), int(seed))
            H = H.on(self._sample.batches)
        self._H = H
        self.optimizer = optimizer
        self._writers = tuple(writers)
        self._progress = progress
        self.count = int(start)
        self.records = Records(directory) if directory is not None and self._is_first else None
        self._here: dict[int, Measurement] = {}
        settings = {**self._settings, "samples": samples, "dim": H.shape[0], "curvature": _kind(H)}
        settings.update({"warm": True} if warm else {})  # folders of before do not say that they are not
        self._by_the_first(lambda: None if self.records is None else self.records.settle(settings))

    @property
    def _is_first(self) -> bool:
        return self._group is None or self._group.rank == 0

    def _by_the_first(self, work: Callable[[], Any]) -> Any:
        """What rank 0's work returns, on every rank, or raises there; elsewhere as RankError."""
        if self._group is None:
            return work()
        answer: tuple[bool, Any] = (True, None)
        error: Exception | None = None
        if self._is_first:
            try:
                answer = (True, work())
            except Exception as raised:
                answer, error = (False, str(raised)), raised
        good, value = self._group.share(answer)[0]
        if error is not None:
            raise error
        if not good:
            raise RankError(f"rank 0 has failed: {value}")
        return value

    @property
    def measurements(self) -> list[Measurement]:
        """All measurements so far, by step."""
        if self.records is not None:
            return self.records.all()
        return [self._here[step] for step in sorted(self._here)]

    def step(self, loss: float | None = None, *, step: int | None = None) -> Measurement | None:
        """Count a step of training, and measure if one is due; return the measurement, or None.

        `loss` is for `loss_change`; `step` the number of steps done, where the loop counts by itself.
        """
        self.count = self.count + 1 if step is None else int(step)
        if self._due(self.count) or (self._loss_change is not None and self._by_the_first(lambda: self._changed(loss))):
            if loss is not None:
                self._last_loss = float(loss)
            return self.measure()
        return None

    def measure(self) -> Measurement:
        """Measure now, or return the record of an earlier run for this step."""
        found: Measurement | None = self._by_the_first(
            lambda: self._here.get(self.count) if self.records is None else self.records.get(self.count)
        )
        if found is not None:
            if not self._is_first:
                self._here[self.count] = found
            return found
        self._H.reproducible()
        hidden = not (self._progress and self._is_first)
        with tqdm(total=3, desc=f"step {self.count}", leave=False, disable=hidden) as bar:

            def tell(what: str) -> None:
                bar.set_postfix_str(what)
                bar.update()

            measurement = measure(
                self._H,
                step=self.count,
                learning_rate=self._learning_rate(),
                sample=self._sample,
                start=self._start_vectors() if self._warm else None,
                keep=self._keep_vectors if self._warm else None,
                progress=tell,
                **self._settings,
            )
        self._H.release()  # training needs the memory, and changes the parameters anyway
        self._by_the_first(lambda: self._keep(measurement))
        if not self._is_first:
            self._here[self.count] = measurement
        return measurement

    def _start_vectors(self) -> Any:
        return self._vectors if self.records is None else self.records.vectors(self.count)

    def _keep_vectors(self, vectors: Any) -> None:
        self._vectors = vectors
        if self.records is not None:
            self.records.keep_vectors(self.count, vectors)

    def _keep(self, measurement: Measurement) -> None:
        if self.records is None:
            self._here[self.count] = measurement
        else:
            self.records.add(measurement)
            if self._warm:
                self.records.forget_vectors(measurement.step)
        for writer in self._writers:
            writer(measurement)

    def to_dataframe(self) -> Any:
        """Return the numbers of all measurements as a pandas DataFrame, a row for each, indexed by step."""
        try:
            import pandas as pd
        except ImportError:
            raise ImportError("to_dataframe needs pandas: pip install 'fastlanczos[study]'") from None
        return pd.DataFrame([m.summary() for m in self.measurements]).set_index("step")

    def plot(self) -> Any:
        """Draw densities, extreme eigenvalues and the gradient's concentration over the steps; return the figure."""
        return draw_run(self.measurements)

    def _learning_rate(self) -> float:
        return float("nan") if self.optimizer is None else float(self.optimizer.param_groups[0]["lr"])

    def _changed(self, loss: float | None) -> bool:
        assert self._loss_change is not None
        if loss is None:
            raise ValueError("loss_change is given, so that step() needs the loss: tracker.step(loss.item())")
        if self._last_loss != self._last_loss:
            return True
        return abs(loss - self._last_loss) > self._loss_change * abs(self._last_loss)

    def __repr__(self) -> str:
        found = self.measurements
        where = "in memory" if self.records is None else f"in {self.records.directory}"
        last = f", the last at step {found[-1].step}" if found else ""
        when = "where a function says" if callable(self._every) else f"every={self._every}"
        return (
            f"SpectrumTracker({_kind(self._H)}, n={self._H.shape[0]}, {when}, {len(found)} measurements {where}{last})"
        )


def _due(every: Due) -> Callable[[int], bool]:
    if every is None:
        return lambda step: False
    if callable(every):
        return lambda step: bool(every(step))
    if isinstance(every, Collection) and not isinstance(every, str):
        steps = frozenset(int(step) for step in every)
        return lambda step: step in steps
    period = as_dimension(every, "every")
    return lambda step: step % period == 0


def _kind(H: CurvatureOperator) -> str:
    return type(H).__name__
