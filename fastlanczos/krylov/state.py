"""The saved state of a Lanczos iteration: everything in it is checked before a run is made of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from fastlanczos.arguments import as_dimension
from fastlanczos.arrays.cpu import dtype_name
from fastlanczos.engine.host_run import RECENT_ROWS
from fastlanczos.ranks.dtensors import is_dtensor

__all__ = ["STATE_VERSION", "checked_state"]

STATE_VERSION = 1
_SCALARS = ("steps", "sweeps", "exponent", "breakdown", "scale", "max_projection", "alpha", "beta", "h")
_MOST_STEPS = 2**62


def checked_state(state: Any) -> dict[str, Any]:
    """Return the entries of a state with sizes as ints and arrays as NumPy's; raise ValueError naming what is wrong.

    Of a run over ranks `vectors` and `basis` are DTensors (rows, n), and stay as they are.
    """
    if not isinstance(state, Mapping):
        raise ValueError(f"not a LanczosIteration state: want a dict, got {type(state).__name__}")
    version = state.get("version")
    if not _is_integer(version) or version != STATE_VERSION:
        raise ValueError(f"not a LanczosIteration state of version {STATE_VERSION}: got {_short(version)}")
    over_ranks = "vectors" in state
    vectors = {"vectors"} if over_ranks else {"candidate", "recent"}
    missing = ({"dim", "max_steps", "reorthogonalize", "basis_dtype", "scalars"} | vectors) - set(state)
    if missing:
        raise ValueError(f"the state lacks {', '.join(sorted(missing))}")
    found: dict[str, Any] = {name: _size(state[name], name) for name in ("dim", "max_steps")}
    found["reorthogonalize"] = _word(state["reorthogonalize"], "reorthogonalize", ("full", "none"))
    found["basis_dtype"] = _word(state["basis_dtype"], "basis_dtype", ("float64", "float32"))
    names = ("numpy", "float64", "float32", "complex128", "complex64")
    found["like"] = _word(state.get("like", "numpy"), "like", names)
    found["is_complex"] = "complex" in dtype_name(getattr(state.get("candidate"), "dtype", None))
    found["precision"] = _number(state.get("precision", 2.0**-52), "precision")
    if not 0.0 < found["precision"] < 1.0:
        raise ValueError(f"the state's precision must be between 0 and 1, got {found['precision']!r}")
    full = found["reorthogonalize"] == "full"
    most = min(found["dim"], found["max_steps"])
    found["scalars"] = _checked_scalars(state["scalars"], most, full, found["is_complex"])

    recent = RECENT_ROWS[found["basis_dtype"] if full else None]
    if over_ranks:
        rows = {"vectors": 1 + recent} | ({"basis": min(found["max_steps"], found["dim"])} if full else {})
        for name, count in rows.items():
            if not is_dtensor(state.get(name)) or tuple(state[name].shape) != (count, found["dim"]):
                raise ValueError(f"the state's {name} must be a DTensor of shape {(count, found['dim'])}")
            found[name] = state[name]
        return found
    shapes: dict[str, tuple[int, ...]] = {"candidate": (found["dim"],), "recent": (recent * found["dim"],)}
    if full:
        shapes["basis"] = (found["scalars"]["steps"], found["dim"])
    for name, shape in shapes.items():
        found[name] = _array(state.get(name), name, shape, found["is_complex"])
    found.setdefault("basis", None)
    if not found["scalars"]["breakdown"]:
        norm = float(np.linalg.norm(found["candidate"]))
        if not abs(norm - 1.0) < 1e-6:
            raise ValueError(f"the state's candidate must be a unit vector, got norm {norm:.3g}")
    return found


def _checked_scalars(scalars: Any, most_steps: int, full: bool, complex_: bool) -> dict[str, Any]:
    if not isinstance(scalars, Mapping):
        raise ValueError(f"the state's scalars must be a dict, got {type(scalars).__name__}")
    wanted = (*_SCALARS, "h_imaginary") if complex_ else _SCALARS
    missing = set(wanted) - set(scalars)
    if missing:
        raise ValueError(f"the state's scalars lack {', '.join(sorted(missing))}")
    found: dict[str, Any] = {}
    for name, low, high in (("steps", 0, most_steps), ("sweeps", 0, _MOST_STEPS), ("exponent", -1100, 1100)):
        value = scalars[name]
        if not _is_integer(value) or not low <= value <= high:
            raise ValueError(
                f"the state's scalars: {name} must be an integer from {low} to {high}, got {_short(value)}"
            )
        found[name] = int(value)
    if not isinstance(scalars["breakdown"], (bool, np.bool_)):
        raise ValueError(f"the state's scalars: breakdown must be True or False, got {_short(scalars['breakdown'])}")
    found["breakdown"] = bool(scalars["breakdown"])
    for name in ("scale", "max_projection"):
        found[name] = _number(scalars[name], f"scalars: {name}")
        if found[name] < 0.0:
            raise ValueError(f"the state's scalars: {name} must not be negative, got {found[name]!r}")
    steps = found["steps"]
    lengths = {"alpha": steps, "beta": steps, "h": steps if full else min(steps, 2)}
    if complex_:
        lengths["h_imaginary"] = lengths["h"]
    for name, length in lengths.items():
        if name.startswith("h") and found["breakdown"]:
            length = np.size(scalars[name])  # it is not read again
        found[name] = _array(scalars[name], f"scalars: {name}", (length,))
    overlap = sum(float(found[name] @ found[name]) for name in wanted if name.startswith("h"))
    if full and not found["breakdown"] and not overlap < 1.0:
        raise ValueError("the state's scalars: h must be shorter than 1, since it is a part of a unit vector")
    for name in ("ahead", "coefficients"):  # of a run on a GPU
        if name in scalars:
            found[name] = _array(scalars[name], f"scalars: {name}", np.shape(scalars[name]))
    return found


def _size(value: Any, name: str) -> int:
    try:
        size = as_dimension(value, name)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the state's {error}") from None
    if size > _MOST_STEPS:
        raise ValueError(f"the state's {name} is too large: {size}")
    return size


def _word(value: Any, name: str, words: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in words:
        raise ValueError(f"the state's {name} must be one of {', '.join(words)}; got {_short(value)}")
    return value


def _number(value: Any, name: str) -> float:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise ValueError(f"the state's {name} must be a number, got {_short(value)}")
    if not math.isfinite(value):
        raise ValueError(f"the state's {name} is not finite: {value!r}")
    return float(value)


def _array(value: Any, name: str, shape: tuple[int, ...], complex_: bool = False) -> np.ndarray[Any, Any]:
    try:
        array = np.asarray(value)
    except ValueError as error:  # a ragged list
        raise ValueError(f"the state's {name} is no array: {error}") from None
    if array.shape != shape:
        raise ValueError(f"the state's {name} has shape {array.shape}, want {shape}")
    kinds = "cfiu" if complex_ else "fiu"
    if array.size and array.dtype.kind not in kinds:
        sort = "numbers" if complex_ else "real numbers"
        raise ValueError(f"the state's {name} must hold {sort}, got dtype {array.dtype}")
    bad = int(np.count_nonzero(~np.isfinite(array))) if array.size else 0
    if bad:
        raise ValueError(f"the state's {name} has {bad} entries that are NaN or infinite")
    return np.asarray(array, dtype=array.dtype if array.dtype.kind in "fc" else np.float64)


def _is_integer(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, (bool, np.bool_))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 else f"a {type(value).__name__}"
