"""The engine's calls as operators of PyTorch's: `torch.ops.fastlanczos.begin`, `step`, `read`, `rotate`, `quadrature`.

A run is four tensors, which whoever began it carries on: basis (m, stride), candidate (n,), recent rows, state (m, w).
Fake kernels say what comes out, so that a program is compiled without a run.
"""

from __future__ import annotations

from typing import Any

import torch

from fastlanczos import _core
from fastlanczos.engine.cuda import cuda
from fastlanczos.engine.flat import NUMBERS, flat_sizes

__all__ = ["begin", "quadrature", "read", "rotate", "step"]


def _stream(x: torch.Tensor) -> int:
    return int(torch.cuda.current_stream(x.device).cuda_stream)


def _arrays(run: Any) -> tuple[Any, Any, Any, Any]:
    basis, candidate, recent, state = run
    return basis.numpy(), candidate.numpy(), recent.numpy(), state.numpy()


def _memory(
    v0: torch.Tensor, max_steps: int, rows: str
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the four tensors, zero; `rows` is "" without a basis."""
    n = v0.shape[0]
    device = (v0.device.index or 0) if v0.device.type == "cuda" else None
    sizes = flat_sizes(n, max_steps, rows or None, device)
    kind = torch.float32 if rows == "float32" else torch.float64
    double = {"dtype": torch.float64}
    return (
        v0.new_zeros((sizes.rows, sizes.stride), dtype=kind),
        v0.new_zeros((n,), **double),
        v0.new_zeros((sizes.recent,), **double),
        v0.new_zeros((max_steps, sizes.width), **double),
    )


@torch.library.custom_op("fastlanczos::begin", mutates_args=())
def begin(v0: torch.Tensor, max_steps: int, rows: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Begin a run of `max_steps` <= n steps from v0 (n,) float64; `rows`: "float64", "float32" or "" for none."""
    run = _memory(v0, max_steps, rows)
    start = v0.detach().contiguous()
    if v0.is_cuda:
        cuda().begin_flat(*run, start, _stream(v0))
    else:
        _core.begin_flat(*_arrays(run), start.numpy())
    return run


@torch.library.custom_op("fastlanczos::step", mutates_args=("basis", "candidate", "recent", "state"))
def step(
    basis: torch.Tensor, candidate: torch.Tensor, recent: torch.Tensor, state: torch.Tensor, product: torch.Tensor
) -> None:
    """Take a step with the product (n,) float64 of A and the candidate, unless the run is finished."""
    run, taken = (basis, candidate, recent, state), product.detach().contiguous()
    if product.is_cuda:
        cuda().step_flat(*run, taken, _stream(product))
    else:
        _core.step_flat(*_arrays(run), taken.numpy())


@torch.library.custom_op("fastlanczos::read", mutates_args=())
def read(basis: torch.Tensor, candidate: torch.Tensor, recent: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
    """Return what a run has to say, (7 + 3 m,): see engine/flat.py; then alpha, beta, h (m each)."""
    if not state.is_cuda:
        return torch.from_numpy(_core.read_flat(state.numpy()))
    numbers = state.new_empty(NUMBERS + 3 * state.shape[0])
    cuda().read_flat(basis, candidate, recent, state, numbers, _stream(state))
    return numbers


@torch.library.custom_op("fastlanczos::rotate", mutates_args=("rows",))
def rotate(rows: torch.Tensor, rotation: torch.Tensor) -> None:
    """Replace the first l of k rows (k, n) float64 by rotation (l, k) times all of them, in one pass over them."""
    factors = rotation.detach().contiguous()
    if rows.is_cuda:
        cuda().turn_rows(rows, factors, _stream(rows))
    else:
        _core.rotate(rows.numpy(), factors.numpy())


@torch.library.custom_op("fastlanczos::quadrature", mutates_args=())
def quadrature(alpha: torch.Tensor, beta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return nodes and weights (count, m) of alpha (count, m), beta (count, m - 1), float64; NaN where not finite."""
    alpha, beta = alpha.detach().contiguous(), beta.detach().contiguous()
    if alpha.is_cuda:
        count, m = alpha.shape
        nodes, weights = torch.empty_like(alpha), torch.empty_like(alpha)
        room, failed = alpha.new_empty(3 * count * m), alpha.new_empty(count, dtype=torch.int32)
        cuda().quadrature(count, m, alpha, beta, nodes, weights, room, failed, _stream(alpha))
        bad = (failed != 0)[:, None]
    else:
        nodes, weights = (torch.from_numpy(x) for x in _core.quadrature(alpha.numpy(), beta.numpy())[:2])
        bad = ~(alpha.isfinite().all(1) & beta.isfinite().all(1))[:, None]
    return nodes.masked_fill(bad, torch.nan), weights.masked_fill(bad, torch.nan)


begin.register_fake(_memory)
step.register_fake(lambda basis, candidate, recent, state, product: None)
read.register_fake(lambda basis, candidate, recent, state: state.new_empty(NUMBERS + 3 * state.shape[0]))
rotate.register_fake(lambda rows, rotation: None)
quadrature.register_fake(lambda alpha, beta: (torch.empty_like(alpha), torch.empty_like(alpha)))
