"""fastlanczos/study/demo.py: its numbers and its files."""

import json

import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")

import fastlanczos as fl
from fastlanczos.study import demo, images


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


def test_the_papers_network_has_15910_parameters():
    pixels, _ = images.digits(28)
    assert pixels.shape == (1797, 784)
    assert (
        sum(p.numel() for p in demo.train((pixels[:50], images.digits()[1][:50]), max_steps=1).parameters()) == 15_910
    )
