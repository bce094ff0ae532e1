"""The Hessian of a PyTorch model's loss over a whole data set, as an operator."""

from __future__ import annotations

from typing import Any

import torch

from fastlanczos.curvature.differences import Differences, GradientDifferences
from fastlanczos.curvature.graphs import ForwardHessianGraph, Graph, HessianGraph
from fastlanczos.curvature.operator import CurvatureOperator
from fastlanczos.model.function import Evaluation, ModelFunction

__all__ = ["HessianOperator"]


class HessianOperator(CurvatureOperator):
    """Exact products with the Hessian of the mean loss over all samples of a data set.

    H = d^2/dtheta^2 (1/N) sum_i loss(model(x_i), y_i), summed in float64. The graph of the gradient is built once per
    batch, and kept while the model does not change and `max_memory` allows. Products use the parameter values at the
    time of the product. The model is never changed: training mode, `.grad`, buffers (batch-norm statistics) and random
    number generators stay as they are.

    Parameters
    ----------
    model : torch.nn.Module
        The model, in the mode (train or eval) that it is in.
    loss_fn : callable or None
        `loss_fn(output, target)` returns the batch's mean, its sum, or one value per sample; see `reduction`. None is
        for models that compute their own loss (`output.loss`). The mean over the data set is the one that torch would
        compute over one batch of all samples, also with class weights and ignored targets. A sum is divided by the
        number of samples, unless `normalize=False`.
    data : iterable of (input, target), of dicts, or one pair of tensors
        Every product goes through all of it, so it must be iterable many times: a DataLoader or a list. Dicts become
        keyword arguments of the model; "labels" (or "label", "targets", "target") is the target.
    params : sequence of str, str, callable, or None
        Names of parameters ("2.weight"), of layers ("2"), patterns ("*.bias"), a predicate on the name, or None for all
        that require a gradient.
    forward : callable, optional
        For batches of any other form: `forward(model, batch)` returns (output, target).
    reduction : {"mean", "sum", "none"}, optional
        What `loss_fn` returns. Needed only if it does not say so itself (a loss module's `reduction`, a
        functools.partial's keyword). Otherwise a single number is taken as the mean over the batch.
    batch_statistics : {"batch", "running", "population"}, optional
        Statistics that batch norm uses: those of each batch, the running ones, or those of the whole data set
        (constants, computed layer by layer). By default as the layers' modes say.
    weight_decay : float or {name, layer or pattern: float}
        Adds weight_decay / 2 |theta|^2 to the loss.
    dtype : torch.dtype, optional
        torch.float64 computes with a copy of the model in float64.
    seed : int, optional
        Seed of torch's generators before each batch of each product, so that dropout draws the same masks every time.
    max_memory : int, optional
        Bytes for graphs and products, by default half of what is available. It decides whether graphs are kept, rebuilt
        for each product (from whole batches or parts), or kept on disk.
    schedule : Schedule, optional
        How products are computed: the `schedule` of another operator. By default it is chosen, in part by timing
        (several vectors at once, channels last), and this can change the last bits.
    compile : bool
        Compile products with torch.compile. They are some 20% faster after half a minute or more of compiling; a C++
        compiler is needed.
    normalize : bool
        True: the matrix of the mean loss, also for a loss with reduction="sum". False: the matrix of the loss summed
        over all samples, which is N times as large (for weighted losses, as many times as the weights sum up to).
        weight_decay is added as it is in both cases.
    products : {"exact", "finite-difference"}
        "finite-difference": central differences of the gradient, 2 gradients a product (12 more for the first, which
        chooses the step); for Gauss-Newton and Fisher of the outputs. For what has no second derivative in torch (fused
        attention, reentrant checkpointing, custom autograd functions, EmbeddingBag), and for the memory of a gradient.
        The repr says how exact they are: about 1e-3 in float32 and 1e-7 in float64. Pass a tol of that size to
        `eigsh`.
    check : bool
        Check whether samples change from pass to pass, and warn if they do.
    progress : bool
        Show a progress bar over the batches of each product.
    group : ProcessGroup, DeviceMesh or mpi4py communicator, optional
        Ranks that all have the model (plain, or wrapped by DistributedDataParallel), each with its part of the data:
        products, loss and gradient are those of the whole data, and runs share their vectors and basis out over the
        ranks (`H.local_dim` entries here). Models whose parameters are DTensors (FSDP2, tensor parallel) need none:
        vectors lie as the parameters do, and FSDP2's units are gathered one by one.

    Attributes
    ----------
    shape : tuple of int
        (n, n).
    dtype : torch.dtype
        The precision of a product.
    device : torch.device
        Where flat vectors are: the first parameter's device.
    schedule : Schedule or None
        How products are computed; None before the first product.

    Raises
    ------
    TypeError, ValueError
        For data that can be iterated only once, unknown parameter names, dropout without a seed, a loss of the wrong
        shape. Raised before anything is computed if possible.

    Warns
    -----
    AsymmetryWarning
        If samples are different in a second pass (augmentation).

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

    _by_module = True

    def _graph(self, piece: Any, evaluation: Evaluation) -> Graph:
        return HessianGraph(evaluation)

    def _differences(self, function: ModelFunction) -> Differences:
        return GradientDifferences(function, self._space)

    def _forward_graph(self, piece: Any, evaluation: Evaluation) -> Graph:
        snapshot = self._products.snapshot
        assert snapshot is not None

        def total(*leaves: torch.Tensor) -> torch.Tensor:
            return self._products.function.evaluate(snapshot, piece, closed=False, leaves=leaves).loss.total

        return ForwardHessianGraph(total, evaluation.leaves)
