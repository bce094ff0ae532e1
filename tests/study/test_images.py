"""fastlanczos/study/images.py: images as they come in files."""

import gzip
import pickle

import numpy as np
import pytest

pytest.importorskip("torch")

from fastlanczos.study import images


def test_mnists_files_are_read_plain_and_gzipped(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (12, 28, 28), dtype=np.uint8)
    labels = np.arange(12, dtype=np.uint8) % 10
    header = lambda a: b"\0\0\x08" + bytes([a.ndim]) + np.array(a.shape, ">u4").tobytes()  # noqa: E731
    (tmp_path / "train-images-idx3-ubyte").write_bytes(header(pixels) + pixels.tobytes())
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(header(labels) + labels.tobytes()))
    x, y = images.mnist(tmp_path, samples=7)
    np.testing.assert_allclose(x.numpy() * 255, pixels[:7].reshape(7, 784), atol=1e-12)
    assert y.tolist() == labels[:7].tolist()
    (tmp_path / "train-images-idx3-ubyte").write_bytes(header(pixels) + pixels.tobytes()[:100])
    with pytest.raises(ValueError, match="cut short: 100 of 9408 bytes"):
        images.mnist(tmp_path)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"<html>")
    with pytest.raises(ValueError, match="not an idx file"):
        images.mnist(tmp_path)
    with pytest.raises(FileNotFoundError, match="has neither train-images"):
        images.mnist(tmp_path / "elsewhere")


def test_digits_come_in_two_sizes():
    pytest.importorskip("sklearn")
    for side in (8, 28):
        x, y = images.digits(side)
        assert x.shape == (1797, side**2)
        assert 0 <= x.min() < x.max() <= 1
        assert sorted(set(y.tolist())) == list(range(10))


def test_cifars_files_are_read_in_both_forms(tmp_path):
    generator = np.random.default_rng(0)
    pixels, labels = generator.integers(256, size=(6, 3072), dtype=np.uint8), np.arange(6, dtype=np.uint8)
    np.column_stack([labels, pixels]).tofile(tmp_path / "data_batch_1.bin")
    with open(tmp_path / "data_batch_2", "wb") as file:
        pickle.dump({b"data": pixels, b"labels": labels.tolist()}, file, protocol=2)
    x, y = images.cifar10(tmp_path)
    assert x.shape == (12, 3072)
    assert np.array_equal(x[6:], pixels / 255.0)
    assert y.tolist() == [*range(6), *range(6)]
    assert images.cifar10(tmp_path, samples=5)[0].shape == (5, 3072)


def test_what_is_not_cifar_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"neither data_batch_1\.bin nor data_batch_1"):
        images.cifar10(tmp_path)

    class Harmful:
        def __reduce__(self):
            return print, ("this must not run",)

    with open(tmp_path / "data_batch_1", "wb") as file:
        pickle.dump(Harmful(), file)
    with pytest.raises(pickle.UnpicklingError, match="print"):
        images.cifar10(tmp_path)
    (tmp_path / "data_batch_1.bin").write_bytes(b"123")
    with pytest.raises(ValueError, match="cut short"):
        images.cifar10(tmp_path)
