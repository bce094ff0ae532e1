"""What the entries of a matrix tell."""

import numpy as np
import pytest
import scipy.sparse as sp

from fastlanczos.operators import entries
from fastlanczos.operators.entries import asymmetry_of, is_explicit


@pytest.mark.parametrize("rows", [1, 3, 1000])
def test_the_asymmetry_is_the_largest_difference_wherever_it_lies(rows, monkeypatch):
    rng = np.random.default_rng(0)
    A = rng.standard_normal((20, 20)) + 1j * rng.standard_normal((20, 20))
    A = A + A.conj().T
    monkeypatch.setattr(entries, "_BLOCK", 20 * rows)
    assert asymmetry_of(A) == 0.0
    for i, j in ((0, 19), (19, 0), (7, 8), (4, 4)):
        B = A.copy()
        B[i, j] += 0.5j
        expected = np.abs(B - B.conj().T).max() / np.abs(B).max()
        assert asymmetry_of(B) == pytest.approx(expected, rel=1e-14)
        assert asymmetry_of(sp.csr_array(B)) == pytest.approx(expected, rel=1e-14)


def test_what_has_no_entries_has_no_asymmetry():
    assert not is_explicit(lambda v: v)
    assert asymmetry_of(lambda v: v) == 0.0
    assert asymmetry_of(np.zeros((3, 3))) == 0.0
