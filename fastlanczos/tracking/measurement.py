"""`Measurement`: numbers and density at one step of training, as JSON with a checksum. Needs no PyTorch."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field

import numpy as np

from fastlanczos.arrays.cpu import Float64
from fastlanczos.density.density import SpectralDensity

__all__ = ["Measurement"]

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
        """Read what `to_json` wrote; raises ValueError if it is damaged or of a newer format."""
        try:
            record = json.loads(text)
            values, version = record["measurement"], int(record["format"])
            whole = record["checksum"] == _checksum(json.dumps(values))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"not a complete record ({error})") from error
        if version > _FORMAT:
            raise ValueError(f"its format is {version}, this fastlanczos reads up to {_FORMAT}: upgrade fastlanczos")
        if not whole:
            raise ValueError("its checksum does not fit: it was changed or damaged")
        arrays = {name: np.asarray(value) for name, value in values.items() if isinstance(value, list)}
        return cls(**{**values, **arrays})


def _checksum(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()[:16]
