"""Images to train on: scikit-learn's digits, and the files of MNIST and CIFAR-10."""

from __future__ import annotations

import codecs
import gzip
import pickle
from pathlib import Path
from typing import IO, Any

import numpy as np

try:
    import torch
except ImportError:
    raise ImportError("images to train on come as tensors: pip install 'fastlanczos[demo]'") from None

__all__ = ["Data", "cifar10", "digits", "mnist"]

Data = tuple[torch.Tensor, torch.Tensor]


def digits(side: int = 8) -> Data:
    """Return scikit-learn's 1,797 images of digits, (1797, side^2) in [0, 1], float64, and their labels."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise ImportError("the digits come with scikit-learn: pip install 'fastlanczos[demo]'") from None
    from scipy.ndimage import zoom

    bunch = load_digits()
    images = bunch.images / 16.0
    if side != images.shape[1]:
        images = zoom(images, (1, side / images.shape[1], side / images.shape[2]), order=1)
    return torch.from_numpy(images.reshape(len(images), -1)), torch.from_numpy(bunch.target)


def mnist(folder: str | Path, samples: int | None = None) -> Data:
    """Return MNIST's training images, (N, 784) in [0, 1], float64, and labels, from its idx files or their .gz."""
    images = _read_idx(Path(folder), "train-images-idx3-ubyte")
    labels = _read_idx(Path(folder), "train-labels-idx1-ubyte")
    if images.ndim != 3 or len(images) != len(labels):
        raise ValueError(f"{folder} holds {images.shape} images and {labels.shape} labels: not MNIST's training set")
    pixels = images[:samples].reshape(len(images[:samples]), -1) / 255.0
    return torch.from_numpy(pixels), torch.from_numpy(labels[:samples].astype(np.int64))


def _read_idx(folder: Path, name: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
    for path, opened in ((folder / name, open), (folder / f"{name}.gz", gzip.open)):
        if path.exists():
            with opened(path, "rb") as file:
                content = file.read()
            break
    else:
        raise FileNotFoundError(f"{folder} has neither {name} nor {name}.gz")
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise ValueError(f"{path} is not an idx file of bytes")
    ndim = content[3]
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", ndim, 4))
    values = np.frombuffer(content, np.uint8, offset=4 + 4 * ndim)
    if values.size != np.prod(shape):
        raise ValueError(f"{path} is cut short: {values.size} of {np.prod(shape)} bytes")
    return values.reshape(shape)


def cifar10(folder: str | Path, samples: int | None = None) -> Data:
    """Return CIFAR-10's training images, (N, 3072) in [0, 1], float64, and labels, from its binary or Python files."""
    parts = []
    for i in range(1, 6):
        binary, pickled = Path(folder) / f"data_batch_{i}.bin", Path(folder) / f"data_batch_{i}"
        if binary.exists():
            rows = np.fromfile(binary, np.uint8)
            if rows.size == 0 or rows.size % 3073:
                raise ValueError(f"{binary} is cut short: {rows.size} bytes are not records of 3073")
            parts.append((rows.reshape(-1, 3073)[:, 1:], rows.reshape(-1, 3073)[:, 0]))
        elif pickled.exists():
            with open(pickled, "rb") as file:
                batch = _ArraysOnly(file, encoding="bytes").load()
            parts.append((np.asarray(batch[b"data"]), np.asarray(batch[b"labels"], dtype=np.uint8)))
    if not parts:
        raise FileNotFoundError(f"{folder} has neither data_batch_1.bin nor data_batch_1")
    pixels, labels = (np.concatenate(column)[:samples] for column in zip(*parts, strict=True))
    return torch.from_numpy(pixels / 255.0), torch.from_numpy(labels.astype(np.int64))


class _ArraysOnly(pickle.Unpickler):
    """Reads pickled NumPy arrays, and runs nothing else that a file may ask for."""

    def __init__(self, file: IO[bytes], *, encoding: str) -> None:
        super().__init__(file, encoding=encoding)

    def find_class(self, module: str, name: str) -> Any:
        """Return what makes arrays; raise for anything else."""
        if module.replace("numpy.core", "numpy._core") == "numpy._core.multiarray" and name == "_reconstruct":
            return np.empty(0).__reduce__()[0]
        if module == "numpy" and name in ("ndarray", "dtype"):
            return getattr(np, name)
        if (module, name) == ("_codecs", "encode"):  # how Python 2's protocol writes bytes
            return codecs.encode
        raise pickle.UnpicklingError(f"the file asks for {module}.{name}, which an array does not need")
