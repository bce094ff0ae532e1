"""The loss that a quadratic model predicts for gradient descent, from the gradient's distribution over the spectrum."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastlanczos.arrays.cpu import Float64

__all__ = ["predict_loss"]


def predict_loss(
    loss: float,
    gradient_norm: float,
    nodes: Any,
    weights: Any,
    learning_rate: float,
    num_steps: int,
) -> Float64:
    """Predict the loss under gradient descent on the quadratic model around the parameters.

    Along an eigenvalue lambda with the share w of the gradient's energy, a step contracts the gradient by 1 - eta
    lambda, so that after t steps the loss is

        L(t) = L(0) - |g|^2 sum_i w_i (1 - (1 - eta lambda_i)^(2t)) / (2 lambda_i),

    exact for a quadratic, up to the quadrature of the gradient's distribution. A negative eigenvalue, or one above
    2 / eta, makes it fall or grow without bound: as far as the model goes.

    Parameters
    ----------
    loss : float
        L(0).
    gradient_norm : float
        |g|.
    nodes, weights : (m,) array_like
        The gradient's distribution over the spectrum, as in `gradient_concentration` or a `Measurement`.
    learning_rate : float
        eta.
    num_steps : int
        Steps.

    Returns
    -------
    (num_steps + 1,) float64
        L(0), ..., L(num_steps).

    Raises
    ------
    ValueError
        If nodes and weights do not match, or a number is not one that makes sense.

    References
    ----------
    Ghorbani, Krishnan and Xiao (arXiv 1901.10159), section 4.

    Examples
    --------
    >>> import fastlanczos.torch as flt
    >>> flt.predict_loss(2.0, 2.0, [1.0], [1.0], learning_rate=0.5, num_steps=2)  # x^2 / 2 from x = 2
    array([2.   , 0.5  , 0.125])
    """
    values, shares = np.asarray(nodes, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    if values.shape != shares.shape or values.ndim != 1:
        raise ValueError(f"nodes and weights must have one shape (m,), got {values.shape} and {shares.shape}")
    if not (np.isfinite(learning_rate) and learning_rate > 0):
        raise ValueError(f"learning_rate must be a positive number, got {learning_rate!r}")
    if num_steps < 0:
        raise ValueError(f"num_steps must not be negative, got {num_steps!r}")
    # Summed up step by step: (1 - (1-x)^2t) / 2 lambda loses all digits at small lambda.
    contraction = (1.0 - learning_rate * values) ** 2
    energy = gradient_norm**2 * shares * contraction ** np.arange(num_steps)[:, None]
    falls = np.sum(energy * learning_rate * (1.0 - 0.5 * learning_rate * values), axis=1)
    return np.concatenate([[loss], loss - np.cumsum(falls)])
