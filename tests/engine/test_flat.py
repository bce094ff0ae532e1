"""Sizes of runs in a compiler's memory."""

import pytest

from fastlanczos.engine import flat


@pytest.mark.parametrize("m", [1, 2, 3, 7, 100])
def test_a_state_has_room_for_the_numbers_of_a_run(m):
    sizes = flat.flat_sizes(201, m, "float64", None)
    assert sizes[:3] == (m, 201, 0)
    assert m * sizes.width >= flat.NUMBERS + 3 * m
    assert flat.flat_sizes(201, m, None, None)[:3] == (0, 201, 202)
    assert flat.flat_sizes(201, m, "float32", None).recent == 404


@pytest.mark.parametrize("rows", ["float64", "float32", None])
def test_a_gpu_gets_rows_that_begin_at_16_bytes_and_its_workspace(gpu, monkeypatch, rows):
    monkeypatch.setattr(flat, "cuda", lambda: gpu.module)
    for n, m in ((9, 9), (201, 7), (64, 1)):
        sizes = flat.flat_sizes(n, m, rows, 0)
        assert sizes.stride % 4 == 0
        assert sizes.stride - n in range(4)
        assert m * sizes.width >= gpu.module.workspace_entries(n, m, rows or "none", 0)
        assert m * sizes.width % 2 == 0
