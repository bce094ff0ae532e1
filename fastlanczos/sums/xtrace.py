"""XTrace: the trace of A. The low-rank part comes from the products themselves, and each probe tests that of the
others."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlanczos.arrays.cpu import Float64
from fastlanczos.operators.operator import Operator
from fastlanczos.probes.draw import probe
from fastlanczos.probes.intervals import short_tail, standard_error
from fastlanczos.sums.accuracy import Accuracy
from fastlanczos.sums.estimate import Estimate
from fastlanczos.sums.products import multiply

__all__ = ["xtrace"]


def xtrace(
    operator: Operator,
    num_probes: int,
    seeds: np.random.SeedSequence,
    accuracy: Accuracy | None,
    bar: Any,
) -> Estimate:
    """Estimate tr A by XTrace (Epperly, Tropp and Webber, arXiv 2301.07825, section 2.1): two products a probe.

    Probe i is tested on the operator without its part in the span Q_i of A times all other probes; the average of these
    estimates does not depend on the probes' order. Q_i is Q without one direction: with Q R = A Omega, the one along
    s_i, column i of R^-H normalized.
    """
    n = operator.dim
    count = min(num_probes, n)
    omega = np.zeros((n, 0))
    image: NDArray[Any] = np.zeros((n, 0))
    products = 0
    while True:
        new = np.stack([probe(n, seeds, i) for i in range(omega.shape[1], count)], axis=1)
        omega = np.concatenate([omega, new], axis=1)
        image = np.concatenate([image, multiply(operator, new, bar)], axis=1)
        Q, R = np.linalg.qr(image)
        values = _leave_one_out(omega, image, Q, R, multiply(operator, Q, bar))
        products += new.shape[1] + Q.shape[1]
        error = float(standard_error(values))
        info = {"method": "xtrace", "num_steps": 1, "deflated": count, "seed": seeds.entropy, "asymmetry": 0.0}
        estimate = Estimate(float(values.mean()), error, 0.0, count, products, float(short_tail(values)), info)
        if accuracy is None or count == n or estimate.half_width() <= accuracy.aim(estimate.value):
            return estimate
        more = min(2 * count, n)
        if products + (more - count) + more > accuracy.limit:
            accuracy.warn(products, estimate, accuracy.aim(estimate.value), "more products (max_matvecs=)")
            return estimate
        count = more


def _leave_one_out(omega: Float64, image: NDArray[Any], Q: NDArray[Any], R: NDArray[Any], Z: NDArray[Any]) -> Float64:
    n, k = omega.shape
    S = np.linalg.inv(R).conj().T
    S /= np.linalg.norm(S, axis=0)
    H, W, T = Q.conj().T @ Z, Q.conj().T @ omega, Z.conj().T @ omega
    SW = np.einsum("ij,ij->j", S.conj(), W)
    values = np.empty(k)
    for i in range(k):
        s, w, t = S[:, i], W[:, i], T[:, i]
        # Q_i = Q (1 - s s'), ' conjugates; mu is the probe's part outside, its norm set to sqrt(n - rank).
        inside = w - s * SW[i]
        low_rank = np.trace(H).real - np.vdot(s, H @ s).real
        outside = (n - (k - 1)) / (omega[:, i] @ omega[:, i] - np.vdot(inside, inside).real)
        mixed = t - s * np.vdot(s, t)  # (1 - s s') Z' omega
        rest = omega[:, i] @ image[:, i] - 2 * np.vdot(inside, mixed) + np.vdot(inside, H @ inside)
        values[i] = low_rank + outside * rest.real
    return values
