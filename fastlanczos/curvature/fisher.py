"""The Fisher information matrix of a model over a whole data set, as an operator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from fastlanczos.arguments import as_dimension
from fastlanczos.curvature.gauss_newton import output_tensors
from fastlanczos.curvature.jacobian import Inner, JacobianOperator
from fastlanczos.model.interception import LossCall
from fastlanczos.model.losses import BatchLoss

__all__ = ["FisherOperator"]

_KINDS = ("empirical", "exact", "monte-carlo")


class FisherOperator(JacobianOperator):
    """Products with the Fisher information matrix (1/N) sum_i E[g_i g_i'], g_i the gradient of one sample's loss.

    "empirical" uses the targets of the data; "exact" the expectation over targets drawn from the model's own
    distribution, in closed form; "monte-carlo" the mean over drawn ones. The distribution is the one whose negative
    logarithm the loss is: categorical for `cross_entropy`, Gaussian for `mse_loss`; there the exact Fisher is the
    Gauss-Newton matrix. A sample is what the loss has one term for: with cross entropy of sequences or images each
    token or pixel; weights count samples that often.

    Parameters
    ----------
    model, loss_fn, data, and all options
        As for `HessianOperator`.
    kind : {"empirical", "exact", "monte-carlo"}
        Whose targets.
    num_draws : int
        Targets drawn for each sample, for "monte-carlo"; the same ones in every product.
    draw_seed : int, optional
        Seed of those draws; by default a new one for each operator.

    Raises
    ------
    TypeError, ValueError
        As for `HessianOperator`; also where a loss belongs to no distribution that is known.

    References
    ----------
    Martens, "New insights and perspectives on the natural gradient method", JMLR 21 (2020); Kunstner, Hennig and
    Balles, "Limitations of the empirical Fisher approximation" (arXiv 1905.12558).

    Examples
    --------
    >>> import torch, fastlanczos.torch as flt
    >>> model = torch.nn.Linear(3, 2, dtype=torch.float64)
    >>> data = [(torch.randn(8, 3, dtype=torch.float64), torch.randint(2, (8,)))]
    >>> loss = torch.nn.functional.cross_entropy
    >>> F, G = flt.FisherOperator(model, loss, data, kind="exact"), flt.GGNOperator(model, loss, data)
    >>> v = torch.ones(8, dtype=torch.float64)
    >>> torch.allclose(F @ v, G @ v)
    True
    """

    def __init__(
        self,
        model: torch.nn.Module,
        loss_fn: Callable[..., Any] | None,
        data: Any,
        *,
        kind: str = "empirical",
        num_draws: int = 1,
        draw_seed: int | None = None,
        **options: Any,
    ) -> None:
        if kind not in _KINDS:
            raise ValueError(f"kind must be one of {', '.join(_KINDS)}; got {kind!r}")
        super().__init__(model, loss_fn, data, **options)
        self._kind = kind
        self._num_draws = as_dimension(num_draws, "num_draws")
        self._draw_seed = int(np.random.SeedSequence(draw_seed).generate_state(1)[0])
        self._options |= {"kind": kind, "num_draws": num_draws, "draw_seed": draw_seed}

    def _outputs(self, loss: BatchLoss) -> list[torch.Tensor]:
        call = loss.call
        if self._kind != "empirical":
            if call is None or call.family is None or call.scores_of is None:
                raise ValueError(
                    f'kind="{self._kind}" needs a loss that is the negative logarithm of a known distribution: loss_fn '
                    "must end with cross_entropy (with class indices, or without weights) or mse_loss. "
                    'kind="empirical" works with any loss'
                )
            return [call.scores_of]
        if call is not None and call.scores_of is not None:
            return [call.scores_of]
        tensors = output_tensors(loss.outputs)
        if len(tensors) > 1 or tensors[0].shape[:1] != (loss.num_samples,):
            raise ValueError(
                "the empirical Fisher needs one output tensor with one row per sample, got shapes "
                f"{[tuple(t.shape) for t in tensors]} for {loss.num_samples} samples"
            )
        return tensors

    def _inner(self, loss: BatchLoss, outputs: list[torch.Tensor]) -> Inner:
        if self._kind == "empirical":
            inner = self._empirical(loss, outputs[0])
        else:
            assert loss.call is not None
            inner = self._categorical(loss.call) if loss.call.family == "categorical" else self._gaussian(loss.call)
        return lambda pushed: [inner(pushed[0])]

    def _empirical(self, loss: BatchLoss, rows: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        call = loss.call
        (scores,) = torch.autograd.grad(loss.total, [rows], retain_graph=True)
        # Row i of `scores` is w_i g_i, w_i its share of the denominator, and w_i g_i g_i' is what is summed.
        if call is not None and call.weights is not None:
            shares = call.weights
        else:
            shares = torch.full_like(scores[:, 0].reshape(len(scores), -1)[:, 0], loss.denominator / len(scores))
        inverse = torch.where(shares > 0, 1 / shares, 0.0)
        return _outer(scores, inverse)

    def _categorical(self, call: LossCall) -> Callable[[torch.Tensor], torch.Tensor]:
        assert call.scores_of is not None
        assert call.weights is not None
        p = torch.softmax(call.scores_of.detach(), 1)
        weights = call.weights.detach()[:, None]
        if self._kind == "exact":
            return lambda u: weights * p * (u - (p * u).sum(1, keepdim=True))
        generator = torch.Generator(device=p.device).manual_seed(self._draw_seed)
        drawn = torch.multinomial(p, self._num_draws, replacement=True, generator=generator)
        return self._mean_over_draws(
            [_outer(p - torch.nn.functional.one_hot(y, p.shape[1]).to(p.dtype), weights[:, 0]) for y in drawn.T]
        )

    def _gaussian(self, call: LossCall) -> Callable[[torch.Tensor], torch.Tensor]:
        # exp(-loss) in a sample's outputs is a Gaussian whose precision is the loss's second derivative, 2.
        assert call.scores_of is not None
        if self._kind == "exact":
            return lambda u: 2 * u
        z = call.scores_of.detach()
        generator = torch.Generator(device=z.device).manual_seed(self._draw_seed)
        noise = torch.randn((self._num_draws, *z.shape), generator=generator, dtype=z.dtype, device=z.device)
        return self._mean_over_draws([_outer(e, torch.full_like(e.reshape(len(e), -1)[:, 0], 2.0)) for e in noise])

    def _mean_over_draws(
        self, products: Sequence[Callable[[torch.Tensor], torch.Tensor]]
    ) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda u: sum((product(u) for product in products[1:]), start=products[0](u)) / len(products)


def _outer(scores: torch.Tensor, factors: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    """u -> f_i s_i (s_i . u_i) for each row i."""
    rows = scores.detach().reshape(len(scores), -1)

    def product(u: torch.Tensor) -> torch.Tensor:
        along = (rows * u.reshape(rows.shape)).sum(1)
        return ((factors * along)[:, None] * rows).reshape(u.shape)

    return product
