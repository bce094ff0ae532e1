"""The generalized Gauss-Newton matrix of a model's loss over a whole data set, as an operator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from fastlanczos.curvature.jacobian import Inner, JacobianOperator
from fastlanczos.model.losses import BatchLoss

__all__ = ["GGNOperator", "output_tensors"]


class GGNOperator(JacobianOperator):
    """Exact products with the generalized Gauss-Newton matrix of the mean loss over all samples of a data set.

    G = (1/N) sum_i J_i' (d^2 loss / dz^2) J_i, with J_i the Jacobian of the outputs z = model(x_i) in the parameters:
    the Hessian without the model's own curvature, positive semidefinite where the loss is convex in the outputs.
    Where the model computes its loss itself (`loss_fn=None`), z is `output.logits`.

    Parameters
    ----------
    model, loss_fn, data, and all options
        As for `HessianOperator`.

    Raises
    ------
    TypeError, ValueError
        As for `HessianOperator`.

    Notes
    -----
    With its default, `normalize=True`, the matrix equals curvlinops' for losses with reduction="mean"; with
    `normalize=False` it equals curvlinops' for losses with reduction="sum". hessian-eigenthings averages over batches,
    which is the same where all batches have one size.

    References
    ----------
    Schraudolph, "Fast curvature matrix-vector products for second-order gradient descent", Neural Computation 14
    (2002).

    Examples
    --------
    >>> import torch, fastlanczos.torch as flt
    >>> model = torch.nn.Linear(3, 1, dtype=torch.float64)
    >>> data = [(torch.eye(3, dtype=torch.float64), torch.zeros(3, 1, dtype=torch.float64))]
    >>> G = flt.GGNOperator(model, torch.nn.functional.mse_loss, data)
    >>> (G @ torch.tensor([3.0, 0.0, 0.0, 0.0])).round(decimals=4)
    tensor([2., 0., 0., 2.])
    """

    def _outputs(self, loss: BatchLoss) -> list[torch.Tensor]:
        return output_tensors(loss.outputs)

    def _inner(self, loss: BatchLoss, outputs: list[torch.Tensor]) -> Inner:
        gradients = torch.autograd.grad(
            loss.total, outputs, create_graph=True, retain_graph=True, materialize_grads=True
        )
        curved = [i for i, g in enumerate(gradients) if g.requires_grad]

        def inner(pushed: tuple[torch.Tensor, ...]) -> Sequence[torch.Tensor]:
            if not curved:
                return [torch.zeros_like(u) for u in pushed]
            products: tuple[torch.Tensor, ...] = torch.autograd.grad(
                [gradients[i] for i in curved],
                outputs,
                [pushed[i] for i in curved],
                retain_graph=True,
                materialize_grads=True,
            )
            return products

        return inner


def output_tensors(output: Any) -> list[torch.Tensor]:
    """The tensors of the output that depend on the parameters."""
    logits = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    if logits is not None:
        return [logits]
    values = (
        output.values() if isinstance(output, Mapping) else output if isinstance(output, (tuple, list)) else [output]
    )
    tensors = [t for t in values if isinstance(t, torch.Tensor) and t.requires_grad]
    if not tensors:
        raise TypeError(
            f"the model's output ({type(output).__name__}) has no tensor that depends on the chosen parameters: give "
            "forward=, a function (model, batch) -> (output, target), whose output is a tensor"
        )
    return tensors
