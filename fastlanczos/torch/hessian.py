"""The Hessian of a PyTorch model's loss over a whole data set, as an operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from fastlanczos.torch.batches import Forward, Loss, batches_of, generators_unchanged
from fastlanczos.torch.parameters import ParameterSelection, ParameterSpace

__all__ = ["HessianOperator"]


class HessianOperator:
    """Exact products with the Hessian of the mean loss over all samples of a data set.

    H = d^2/dtheta^2 (1/N) sum_i loss(model(x_i), y_i), by reverse-over-reverse differentiation of each batch, weighed
    by its number of samples and accumulated in float64. The operator follows the model: products use the parameters'
    values at the time. The model itself is never touched: neither its training mode, `.grad`, buffers (batch-norm
    statistics) nor the random number generators.

    Parameters
    ----------
    model : torch.nn.Module
        Used in the mode (train or eval) that it is in.
    loss_fn : callable
        `loss_fn(output, target)`, returning the batch's mean, its sum, or one value per sample; see `reduction`.
    data : iterable of (input, target), or one such pair of tensors
        Every product goes through all of it, so it must be iterable again and again: a DataLoader, a list. Tensors are
        moved to the parameters' device.
    params : sequence of str, callable, or None
        Names of parameters ("2.weight"), a predicate on the name, or None for all that require a gradient.
    forward : callable, optional
        For batches of another form: `forward(model, batch)` returns (output, target).
    reduction : {"mean", "sum", "none"}, optional
        What `loss_fn` returns, where it does not say (a loss module's `reduction`, or a functools.partial's keyword);
        otherwise a single number is taken for the mean over the batch.
    seed : int, optional
        Seeds torch's generators before each batch of each product: dropout then draws the same masks every time.

    Attributes
    ----------
    shape : tuple of int
        (n, n).
    dtype : torch.dtype
        The parameters' dtype (the coarsest, where they differ): the precision of a product.
    device : torch.device
        Where the parameters are.

    Raises
    ------
    TypeError, ValueError
        For data that can be gone through only once, unknown parameter names, dropout without a seed, a loss of the
        wrong shape: before anything is computed where it can be known.

    References
    ----------
    Pearlmutter, "Fast exact multiplication by the Hessian", Neural Computation 6 (1994).

    Examples
    --------
    >>> import torch, fastlanczos as fl, fastlanczos.torch as flt
    >>> model = torch.nn.Linear(3, 2, dtype=torch.float64)
    >>> data = [(torch.randn(8, 3, dtype=torch.float64), torch.randint(2, (8,))) for _ in range(4)]
    >>> H = flt.HessianOperator(model, torch.nn.functional.cross_entropy, data)
    >>> H.shape, (H @ torch.ones(8, dtype=torch.float64)).shape
    ((8, 8), torch.Size([8]))
    >>> fl.lanczos(H, num_steps=8, seed=0).num_steps <= 8
    True
    """

    def __init__(
        self,
        model: torch.nn.Module,
        loss_fn: Callable[..., Any],
        data: Any,
        *,
        params: ParameterSelection = None,
        forward: Forward | None = None,
        reduction: str | None = None,
        seed: int | None = None,
    ) -> None:
        if not isinstance(model, torch.nn.Module):
            raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
        self._model = model
        self._space = ParameterSpace(model, params)
        self._loss = Loss(loss_fn, reduction)
        self._data = data
        self._batches = batches_of(data)
        self._forward = forward or _input_target
        self._seed = seed
        self._num_samples: int | None = None
        if seed is None:
            _refuse_dropout(model)

    @property
    def shape(self) -> tuple[int, int]:
        """(n, n), n the number of chosen parameters' entries."""
        return (self._space.dim, self._space.dim)

    @property
    def dtype(self) -> torch.dtype:
        """The parameters' dtype."""
        return self._space.dtype

    @property
    def device(self) -> torch.device:
        """The parameters' device."""
        return self._space.device

    def __matmul__(self, v: Any) -> Any:
        """Return H v for a flat vector (n,) or a block of columns (n, k): tensors give tensors, arrays give arrays.

        The result has the dtype of `v` (float64 for a float64 vector, whatever the model's precision) and, for a
        tensor, its device. A block costs one forward and backward pass for all columns together.
        """
        # A copy, since torch takes neither negative strides nor read-only memory.
        vectors = torch.from_numpy(np.array(v, order="C")) if isinstance(v, np.ndarray) else v
        if not isinstance(vectors, torch.Tensor):
            raise TypeError(f"H multiplies a torch tensor or a NumPy array, got {type(v).__name__}")
        if not vectors.dtype.is_floating_point:
            raise TypeError(f"H multiplies real floating-point vectors, got dtype {vectors.dtype}")
        if vectors.ndim not in (1, 2) or vectors.shape[0] != self.shape[0]:
            raise ValueError(
                f"H has shape {self.shape} and multiplies ({self.shape[0]},) or ({self.shape[0]}, k), "
                f"got {tuple(vectors.shape)}"
            )
        columns = vectors.detach().to(self.device).reshape(self.shape[0], -1)
        product = self._products(columns).reshape(vectors.shape)
        product = product.to(device=vectors.device, dtype=vectors.dtype)
        return product if isinstance(v, torch.Tensor) else product.numpy()

    def matvec(self, v: Any) -> Any:
        """Return H v for a flat vector (n,), as `H @ v`."""
        return self @ v

    def matmat(self, block: Any) -> Any:
        """Return H times a block of columns (n, k), as `H @ block`: what lets probes go in lockstep."""
        return self @ block

    def gradient(self) -> torch.Tensor:
        """Return the gradient of the mean loss over all samples, flat (n,), float64; one pass over the data."""
        total = torch.zeros(self.shape[0], dtype=torch.float64, device=self.device)

        def add(_: list[torch.Tensor], gradients: tuple[torch.Tensor, ...]) -> None:
            total.add_(torch.cat([g.detach().double().flatten() for g in gradients]))

        return total / self._for_each_batch(add, create_graph=False)

    def unflatten(self, v: Any) -> dict[str, torch.Tensor]:
        """Return {name: tensor of the parameter's shape} for a flat vector, such as an eigenvector of H."""
        return self._space.unflatten(v)

    def _products(self, columns: torch.Tensor) -> torch.Tensor:
        total = torch.zeros(columns.shape, dtype=torch.float64, device=self.device)
        parts = [self._space.split(column) for column in columns.T]

        def add(parameters: list[torch.Tensor], gradients: tuple[torch.Tensor, ...]) -> None:
            # A gradient that does not depend on the parameters has no second derivative.
            curved = [i for i, g in enumerate(gradients) if g.requires_grad]
            if not curved:
                return
            for index, part in enumerate(parts):
                products = torch.autograd.grad(
                    [gradients[i] for i in curved],
                    parameters,
                    grad_outputs=[part[i].to(gradients[i].dtype) for i in curved],
                    retain_graph=index + 1 < len(parts),
                    materialize_grads=True,
                )
                total[:, index] += torch.cat([p.double().flatten() for p in products])

        return total / self._for_each_batch(add, create_graph=True)

    def _for_each_batch(
        self, visit: Callable[[list[torch.Tensor], tuple[torch.Tensor, ...]], None], *, create_graph: bool
    ) -> int:
        """Call visit(parameters, gradient of the batch's summed loss) for each batch; return the number of samples."""
        samples = 0
        with generators_unchanged(self._data, self.device), torch.enable_grad():
            for batch in self._batches():
                if self._seed is not None:
                    torch.manual_seed(self._seed)
                loss, parameters, count = self._batch_loss(_to_device(batch, self.device))
                visit(
                    parameters,
                    torch.autograd.grad(loss, parameters, create_graph=create_graph, materialize_grads=True),
                )
                samples += count
        if samples == 0:
            raise ValueError("data has no samples")
        if self._num_samples not in (None, samples):
            raise RuntimeError(
                f"data had {self._num_samples} samples in an earlier pass and {samples} in this one: every pass must "
                "go through the same data set"
            )
        self._num_samples = samples
        return samples

    def _batch_loss(self, batch: Any) -> tuple[torch.Tensor, list[torch.Tensor], int]:
        """The summed loss of a batch as a function of fresh copies of the parameters (and of the buffers)."""
        state = {name: p.detach() for name, p in self._model.named_parameters()}
        chosen = {name: state[name].requires_grad_() for name in self._space.names}
        buffers = {name: b.clone() for name, b in self._model.named_buffers()}

        def model(*args: Any, **kwargs: Any) -> Any:
            return torch.func.functional_call(self._model, {**state, **buffers}, args, kwargs)

        # The fused attention kernels have no second derivative; the plain one does.
        with sdpa_kernel(SDPBackend.MATH):
            loss, count = self._loss(*self._forward(model, batch))
        if not loss.requires_grad:
            raise ValueError("the loss does not depend on the chosen parameters: nothing to differentiate")
        return loss, list(chosen.values()), count

    def __repr__(self) -> str:
        samples = "" if self._num_samples is None else f", {self._num_samples} samples"
        return (
            f"HessianOperator({type(self._model).__name__}, n={self.shape[0]} in {len(self._space.names)} parameters"
            f"{samples}, {self.dtype}, {self.device})"
        )


def _input_target(model: Callable[..., Any], batch: Any) -> tuple[Any, Any]:
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        raise TypeError(
            f"a batch must be (input, target), got {type(batch).__name__}"
            + (f" of length {len(batch)}" if isinstance(batch, (tuple, list)) else "")
            + ": give forward=, a function (model, batch) -> (output, target), for batches of another form"
        )
    return model(batch[0]), batch[1]


def _to_device(batch: Any, device: torch.device) -> Any:
    if isinstance(batch, torch.Tensor):
        return batch.to(device)
    if isinstance(batch, dict):
        return {key: _to_device(value, device) for key, value in batch.items()}
    if type(batch) in (tuple, list):
        return type(batch)(_to_device(value, device) for value in batch)
    return batch


def _refuse_dropout(model: torch.nn.Module) -> None:
    active = [
        name or type(module).__name__
        for name, module in model.named_modules()
        if module.training and _dropout_probability(module) > 0
    ]
    if active:
        raise ValueError(
            f"dropout is on ({', '.join(active[:4])}): each product would belong to another matrix. Call model.eval(), "
            "or pass seed= to keep the same masks in every product"
        )


def _dropout_probability(module: torch.nn.Module) -> float:
    # Dropout layers call it p; attention and recurrent layers call it dropout.
    name = "p" if isinstance(module, torch.nn.modules.dropout._DropoutNd) else "dropout"
    value = getattr(module, name, 0.0)
    return float(value) if isinstance(value, (int, float)) else 0.0
