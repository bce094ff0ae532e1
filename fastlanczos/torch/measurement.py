"""One look at the curvature of a network: density, extreme eigenvalues, trace, and where the gradient lies."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

import numpy as np

from fastlanczos.arrays import Float64
from fastlanczos.density import SpectralDensity
from fastlanczos.slq import spectral_density
from fastlanczos.torch.concentration import gradient_concentration
from fastlanczos.torch.curvature import CurvatureOperator
from fastlanczos.torch.sampling import Sample, sampling_errors

__all__ = ["Measurement", "measure"]

_FORMAT = 1


@dataclass(frozen=True, eq=False)
class Measurement:
    """What was measured at one step of training.

    Attributes
    ----------
    step : int
        Steps of training before the measurement.
    loss, learning_rate : float
        The mean loss over the samples measured on; NaN where the learning rate is not known.
    samples, dim : int
        Samples measured on, and parameters.
    trace, trace_std_error : float
        tr H, and its standard error over the probes (NaN for a single probe).
    negative_mass : float
        The share of sum_i |lambda_i| below zero.
    smallest, largest : float
        Ends of the spectrum, from the probes' runs.
    top : (k,) float64
        The k largest eigenvalues, descending.
    concentration : (k,) float64
        The gradient's energy in the top 1, 2, ... k eigenvectors.
    gradient_norm : float
        |g|.
    gradient_nodes, gradient_weights : (m,) float64
        The distribution of the gradient's energy over the spectrum.
    nodes, weights : (probes, m) float64
        The density's.
    sampling : dict
        Where a sample of the data was measured on: standard errors, from that choice, of "loss", "trace" and "largest".
        Empty otherwise.
    """

    step: int
    loss: float
    learning_rate: float
    samples: int
    dim: int
    trace: float
    trace_std_error: float
    negative_mass: float
    smallest: float
    largest: float
    top: Float64 = field(repr=False)
    concentration: Float64 = field(repr=False)
    gradient_norm: float
    gradient_nodes: Float64 = field(repr=False)
    gradient_weights: Float64 = field(repr=False)
    nodes: Float64 = field(repr=False)
    weights: Float64 = field(repr=False)
    sampling: dict[str, float] = field(default_factory=dict)

    @property
    def density(self) -> SpectralDensity:
        """The eigenvalue density."""
        return SpectralDensity(self.nodes, self.weights, self.dim)

    @property
    def ratio(self) -> float:
        """lambda_1 / lambda_k: how far the outliers stand out."""
        return float(self.top[0] / self.top[-1])

    def summary(self) -> dict[str, float]:
        """Return {name: number}, without the arrays: a row of a table."""
        row = {
            name: value for name, value in asdict(self).items() if isinstance(value, (int, float)) or name == "sampling"
        }
        errors = row.pop("sampling")
        row["ratio"] = self.ratio
        row["concentration"] = float(self.concentration[-1])
        return row | {f"{name}_sampling_error": value for name, value in errors.items()}

    def to_json(self) -> str:
        """Return the record as text, every bit of every number in it, with a checksum."""
        values = {
            name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in asdict(self).items()
        }
        body = json.dumps(values)
        return json.dumps({"format": _FORMAT, "checksum": _checksum(body), "measurement": values})

    @classmethod
    def from_json(cls, text: str) -> Measurement:
        """Read what `to_json` wrote; raises ValueError where it is damaged or of a newer format."""
        try:
            record = json.loads(text)
            values, version = record["measurement"], int(record["format"])
            whole = record["checksum"] == _checksum(json.dumps(values))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"no whole record ({error})") from error
        if version > _FORMAT:
            raise ValueError(f"its format is {version}, this fastlanczos reads up to {_FORMAT}: upgrade fastlanczos")
        if not whole:
            raise ValueError("its checksum does not fit: it was changed or damaged")
        arrays = {name: np.asarray(value) for name, value in values.items() if isinstance(value, list)}
        return cls(**{**values, **arrays})


def _checksum(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()[:16]


def measure(
    H: CurvatureOperator,
    *,
    step: int = 0,
    learning_rate: float = float("nan"),
    k: int = 10,
    num_probes: int = 4,
    num_steps: int = 60,
    seed: int = 0,
    sample: Sample | None = None,
    progress: Callable[[str], None] | None = None,
) -> Measurement:
    """Measure the curvature H: its density, its k largest eigenvalues, and where the gradient lies among them.

    `sample` is the choice of data that H is over, where it is not over all of them. The same seed gives the same bits
    for an operator that is `reproducible`. `progress(what)` is told what comes next.
    """
    tell = progress or (lambda _: None)
    k = min(k, H.shape[0] - 1)
    tell("density")
    density = spectral_density(H, num_probes=num_probes, num_steps=num_steps, seed=seed)
    tell("gradient")
    found = gradient_concentration(H, k, num_steps=num_steps, tol=1e-3, seed=seed)
    traces = density.dim * np.sum(density.weights * density.nodes, axis=1)
    smallest, largest = density.extremes
    errors: dict[str, float] = {}
    if sample is not None:
        tell("sampling error")
        errors = sampling_errors(H, sample, found.eigenvectors[:, 0], seed=seed)
    return Measurement(
        step=step,
        loss=H.loss(),
        learning_rate=float(learning_rate),
        samples=H.num_samples,
        dim=density.dim,
        trace=float(traces.mean()),
        trace_std_error=float(traces.std(ddof=1) / np.sqrt(len(traces))) if len(traces) > 1 else float("nan"),
        negative_mass=density.negative_share,
        smallest=smallest,
        largest=max(largest, float(found.eigenvalues[0])),
        top=found.eigenvalues,
        concentration=found.cumulative,
        gradient_norm=found.gradient_norm,
        gradient_nodes=found.nodes,
        gradient_weights=found.weights,
        nodes=density.nodes,
        weights=density.weights,
        sampling=errors,
    )
