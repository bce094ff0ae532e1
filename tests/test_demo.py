"""fastlanczos/demo.py: its numbers and its files."""

import gzip
import json

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")

import fastlanczos as fl
from fastlanczos import demo


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    return demo.run(folder, progress=False), folder


def test_extreme_eigenvalues_are_exact(finished):
    comparison, _ = finished
    assert comparison.dim == 1510
    assert comparison.top_error < 1e-12
    assert comparison.bottom_error < 1e-12


def test_the_density_is_the_exact_one_within_the_promised_distance(finished):
    comparison, _ = finished
    assert comparison.cdf_gap < 0.01
    assert comparison.l1_distance < 0.03
    assert abs(comparison.estimated_mean - comparison.exact_mean) < 4 * comparison.estimated_mean_std_error
    assert abs(comparison.estimated_negative_share - comparison.exact_negative_share) < 0.01


def test_files_are_whole(finished):
    comparison, folder = finished
    assert sorted(p.name for p in folder.iterdir()) == ["density.json", "density.npz", "density.png"]
    record = json.loads((folder / "density.json").read_text())
    assert record["cdf_gap"] == comparison.cdf_gap
    assert len(record["grid"]) == len(record["exact_density"]) == len(record["estimated_density"]) == 2000
    assert (folder / "density.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert fl.SpectralDensity.load(folder / "density.npz").dim == 1510


def test_the_table_names_every_number_that_is_promised(finished):
    table = finished[0].table()
    for words in (
        "eigenvalue 1 from the top",
        "3 from the bottom",
        "trace",
        "negative share",
        "gap of the blurred cdfs",
    ):
        assert words in table


def test_mnists_files_are_read_plain_and_gzipped(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (12, 28, 28), dtype=np.uint8)
    labels = np.arange(12, dtype=np.uint8) % 10
    header = lambda a: b"\0\0\x08" + bytes([a.ndim]) + np.array(a.shape, ">u4").tobytes()  # noqa: E731
    (tmp_path / "train-images-idx3-ubyte").write_bytes(header(images) + images.tobytes())
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(header(labels) + labels.tobytes()))
    x, y = demo.mnist(tmp_path, samples=7)
    np.testing.assert_allclose(x.numpy() * 255, images[:7].reshape(7, 784), atol=1e-12)
    assert y.tolist() == labels[:7].tolist()
    (tmp_path / "train-images-idx3-ubyte").write_bytes(header(images) + images.tobytes()[:100])
    with pytest.raises(ValueError, match="cut short: 100 of 9408 bytes"):
        demo.mnist(tmp_path)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"<html>")
    with pytest.raises(ValueError, match="not an idx file"):
        demo.mnist(tmp_path)
    with pytest.raises(FileNotFoundError, match="has neither train-images"):
        demo.mnist(tmp_path / "elsewhere")


def test_the_papers_network_has_15910_parameters():
    images, _ = demo.digits(28)
    assert images.shape == (1797, 784)
    assert sum(p.numel() for p in demo.train((images[:50], demo.digits()[1][:50]), max_steps=1).parameters()) == 15_910
