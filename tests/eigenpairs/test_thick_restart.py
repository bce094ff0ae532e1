"""ThickRestart alone, without LAPACK to take over: what it returns is right, and what it cannot do it says."""

import numpy as np
import pytest
from cases.soak import examples
from hypothesis import event, given, settings
from hypothesis import strategies as st
from spectra import laplacian
from tqdm import tqdm

from fastlanczos.eigenpairs.multiplier import Multiplier, OutOfProducts
from fastlanczos.eigenpairs.results import NotConverged
from fastlanczos.eigenpairs.thick_restart import ThickRestart
from fastlanczos.eigenpairs.wanted import Wanted
from fastlanczos.operators.operator import as_operator

EPS = np.finfo(float).eps


def solve(A, which, k, *, ncv=None, dim=None, tol=EPS, max_restarts=20_000, limit=None, callback=None, v0=None):
    operator = as_operator(A, dim)
    rng = np.random.default_rng(0)
    multiplier = Multiplier(operator, limit=limit)
    run = operator.kind.new_run(operator.dim, min(operator.dim, 2 * k + 20 if ncv is None else ncv), "float64")
    restart = ThickRestart(
        multiplier,
        run,
        Wanted(which, k),
        tol=tol,
        max_restarts=max_restarts,
        draw=lambda: rng.standard_normal(operator.dim),
        bar=tqdm(disable=True),
        callback=callback,
    )
    pairs = restart.solve(rng.standard_normal(operator.dim) if v0 is None else v0)
    return pairs.values, np.array(pairs.vectors), multiplier


def meant(d, which, k):
    return d[Wanted(which, k).select(d)]


@st.composite
def spectra(draw):
    rng = np.random.default_rng(draw(st.integers(0, 100_000)))
    n = draw(st.integers(40, 300))
    kind = draw(st.sampled_from(["multiple", "normal", "clustered", "outliers", "low rank", "few"]))
    d = {
        "multiple": lambda: rng.normal(size=n).repeat(rng.integers(1, 6, n))[:n],
        "normal": lambda: rng.normal(size=n),
        "clustered": lambda: rng.normal(size=-(-n // 4)).repeat(4)[:n] + 1e-9 * rng.normal(size=n),
        "outliers": lambda: np.r_[10 * rng.normal(size=5), 1e-2 * rng.normal(size=n - 5)],
        "low rank": lambda: np.r_[rng.choice([1.0, 2.0, -1.0, 3.0], 6), np.zeros(n - 6)],
        "few": lambda: rng.choice(rng.normal(size=8), n),
    }[kind]()
    return kind, d, draw(st.integers(1, 8)), draw(st.integers(8, 30))


@pytest.mark.soak
@settings(max_examples=examples(200), deadline=None)
@given(spectra(), st.sampled_from(["LA", "SA", "LM", "BE"]))
def test_pairs_are_found_with_their_multiplicities_or_it_is_said_that_not(problem, which):
    kind, d, k, more = problem
    norm = np.abs(d).max()
    try:
        w, V, _ = solve(lambda v: d * v, which, k, ncv=k + more, dim=d.size, limit=100 * d.size)
    except (OutOfProducts, NotConverged):
        event(f"{kind}: gave up")
        return
    event(f"{kind}: solved")
    expected = meant(d, which, k)
    if which == "LM":  # signs may tie
        w_sorted, expected = np.sort(np.abs(w)), np.sort(np.abs(expected))
    else:
        w_sorted = w
    assert np.abs(w_sorted - expected).max() <= 200 * EPS * norm
    assert np.linalg.norm(V * d - w[:, None] * V, axis=1).max() <= 200 * EPS * norm
    assert np.abs(V @ V.T - np.eye(k)).max() < 1e-13


def test_a_laplacian_takes_fewer_products_than_an_unfiltered_run_of_as_much_memory():
    A, d = laplacian((100, 101))
    w, V, multiplier = solve(A, "LA", 10, ncv=40)
    np.testing.assert_allclose(w, np.sort(d)[-10:], atol=1e-13)
    assert np.abs(A @ V.T - V.T * w).max() < 1e-12
    assert multiplier.count < 4000  # restarted without filters: about 6000


def test_a_cluster_for_which_there_is_no_room_is_told_apart():
    d = np.r_[1.0 + 1e-7 * np.linspace(0, 1, 40), np.linspace(-1, 0.9, 200)]
    w, _, _ = solve(lambda v: d * v, "LA", 5, ncv=26, dim=d.size)
    np.testing.assert_allclose(w, meant(d, "LA", 5), rtol=0, atol=1e-13)


@pytest.mark.parametrize("which", ["LA", "BE"])
def test_a_start_within_an_invariant_subspace_does_not_hide_the_rest(which):
    d = np.linspace(-1, 3, 200)
    w, _, _ = solve(lambda v: d * v, which, 4, ncv=20, dim=200, v0=np.eye(200)[100])
    np.testing.assert_allclose(w, meant(d, which, 4), atol=1e-13)


def test_what_is_verified_comes_with_the_exception():
    d = np.r_[10.0, 20.0, 30.0, np.linspace(0, 1, 3000) ** 2]
    with pytest.raises(NotConverged, match="2 restarts were not enough") as caught:
        solve(lambda v: d * v, "LA", 8, ncv=12, dim=d.size, max_restarts=2)
    pairs = caught.value.pairs
    assert 1 <= pairs.values.size < 8
    assert np.linalg.norm(pairs.vectors * d - pairs.values[:, None] * pairs.vectors, axis=1).max() < 1e-12


def test_the_limit_to_products_holds():
    d, count = np.geomspace(1e-14, 1, 400), []

    def matvec(v):
        count.append(1)
        return d * v

    with pytest.raises(OutOfProducts):
        solve(matvec, "SA", 5, dim=400, limit=2000)
    assert 1000 < len(count) <= 2000
