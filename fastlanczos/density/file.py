"""The npz file of a density: a versioned format that is written whole, and checked before anything is believed."""

from __future__ import annotations

import ast
import io
import math
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastlanczos.system.files import write_whole

__all__ = ["read", "write"]

_FORMAT = "fastlanczos.SpectralDensity"
_VERSION = 1
_Density = TypeVar("_Density")


def write(path: str | os.PathLike[str], nodes: Any, weights: Any, dim: int, info: dict[str, Any]) -> None:
    """Write a density's parts to `path`; the file is whole or not there."""
    with write_whole(path) as file:
        np.savez(
            file,
            format=np.array(_FORMAT),
            version=np.array(_VERSION),
            nodes=nodes,
            weights=weights,
            dim=np.array(dim),
            info_keys=np.array([str(key) for key in info], dtype=np.str_),
            info_values=np.array([repr(value) for value in info.values()], dtype=np.str_),
        )


def read(path: str | os.PathLike[str], make: Callable[[Any, Any, int, dict[str, Any]], _Density]) -> _Density:
    """Return `make(nodes, weights, dim, info)` of a file; see `SpectralDensity.load` for what is raised."""
    content = Path(path).read_bytes()
    try:
        return make(*_parts(content))
    except Exception as error:  # what zipfile and NumPy say of damaged bytes has many types
        raise ValueError(f"{os.fspath(path)} is not a SpectralDensity that can be read: {error}") from error


def _parts(content: bytes) -> tuple[Any, Any, int, dict[str, Any]]:
    if not zipfile.is_zipfile(io.BytesIO(content)):
        raise ValueError("it is not an npz file, or it is incomplete")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if str(_array(archive, "format", len(content))) != _FORMAT:
            raise ValueError("it holds something else")
        version = int(_array(archive, "version", len(content)))
        if version > _VERSION:
            raise ValueError(
                f"its format is version {version}, this fastlanczos reads up to {_VERSION}: upgrade fastlanczos"
            )
        names = ("nodes", "weights", "dim", "info_keys", "info_values")
        nodes, weights, dim, keys, values = (_array(archive, name, len(content)) for name in names)
    if dim.shape != () or dim.dtype.kind not in "iu":
        raise ValueError(f"dim must be one integer, got shape {dim.shape} of {dim.dtype}")
    info = {str(key): ast.literal_eval(str(value)) for key, value in zip(keys, values, strict=True)}
    return nodes, weights, int(dim), info


def _array(archive: zipfile.ZipFile, name: str, size: int) -> NDArray[Any]:
    """Return an array of the archive. What its headers claim is held against the bytes that there are before any memory
    is taken for it."""
    member = archive.getinfo(f"{name}.npy")
    if member.compress_type != zipfile.ZIP_STORED or member.file_size > size:
        raise ValueError(f"{name} is compressed, or claims {member.file_size} bytes in a file of {size}")
    stream = io.BytesIO(archive.read(member))  # which compares the checksum
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError(f"{name} has another version of NumPy's format")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    data = stream.read()
    if dtype.hasobject or math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError(f"{name} claims to be {shape} of {dtype}, but holds {len(data)} bytes")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C") if data else np.empty(shape, dtype)
