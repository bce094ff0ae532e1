import pickle
import re

import numpy as np
import pytest

import fastlanczos as fl

D = np.linspace(-1.0, 2.0, 5000)


def finish(it):
    while it.step(D * it.vector):
        pass
    return it.result()


@pytest.mark.parametrize("options", [{}, {"basis_dtype": "float32"}, {"reorthogonalize": "none"}])
def test_reverse_communication_gives_the_bits_of_lanczos(options):
    by_hand = finish(fl.LanczosIteration(5000, 50, seed=4, **options))
    whole = fl.lanczos(lambda v: D * v, 5000, 50, seed=4, **options)
    assert by_hand.alpha.tobytes() == whole.alpha.tobytes()
    assert by_hand.beta.tobytes() == whole.beta.tobytes()


@pytest.mark.parametrize("options", [{}, {"basis_dtype": "float32"}, {"reorthogonalize": "none"}])
@pytest.mark.parametrize("stop", [0, 1, 2, 17, 50])
def test_a_run_taken_up_from_its_state_has_the_bits_of_one_without_interruption(options, stop):
    whole = finish(fl.LanczosIteration(5000, 50, seed=4, **options))
    it = fl.LanczosIteration(5000, 50, seed=4, **options)
    for _ in range(stop):
        it.step(D * it.vector)
    state = pickle.loads(pickle.dumps(it.state_dict()))
    again = fl.LanczosIteration.from_state_dict(state)
    assert again.num_steps == stop
    while not again.finished:
        again.step(D * again.vector)
    r = again.result()
    assert r.alpha.tobytes() == whole.alpha.tobytes()
    assert r.residual_norm == whole.residual_norm
    assert r.asymmetry == whole.asymmetry
    assert r.basis is whole.basis is None or np.array_equal(r.basis, whole.basis)


def test_a_state_shares_no_memory_with_its_run():
    it = fl.LanczosIteration(5000, 10, seed=0)
    it.step(D * it.vector)
    state = it.state_dict()
    before = state["candidate"].copy(), state["basis"].copy()
    it.step(D * it.vector)
    assert np.array_equal(before[0], state["candidate"])
    assert np.array_equal(before[1], state["basis"])


def test_a_matvec_may_write_into_its_vector_and_return_it():
    it = fl.LanczosIteration(5000, 30, seed=1)
    wanted = True
    while wanted:
        x = it.vector
        x *= D
        wanted = it.step(x)
    assert it.alpha.tobytes() == finish(fl.LanczosIteration(5000, 30, seed=1)).alpha.tobytes()


def test_a_product_that_is_not_finite_changes_nothing():
    it = fl.LanczosIteration(5000, 30, seed=1)
    for _ in range(7):
        it.step(D * it.vector)
    bad = D * it.vector
    bad[[3, 400, 4999]] = np.nan, np.inf, -np.inf
    with pytest.raises(fl.NonFiniteError, match=r"Lanczos step 8 has 3 of 5000 .*\(1 NaN, 2 infinite\)") as caught:
        it.step(bad)
    assert (caught.value.step, caught.value.count, caught.value.partial.num_steps) == (8, 3, 7)
    assert finish(it).alpha.tobytes() == finish(fl.LanczosIteration(5000, 30, seed=1)).alpha.tobytes()


def test_vector_is_a_unit_vector():
    it = fl.LanczosIteration(5000, 10, v0=np.full(5000, 1e200))
    for _ in range(10):
        assert abs(np.linalg.norm(it.vector) - 1) < 1e-14
        it.step(D * it.vector)


def test_a_finished_run_takes_no_further_product():
    it = fl.LanczosIteration(5000, 2, seed=0)
    finish(it)
    with pytest.raises(ValueError, match="finished after 2 of 2 steps"):
        it.step(it.vector)


def test_more_steps_than_dimensions_end_at_an_invariant_subspace():
    it = fl.LanczosIteration(5, 50, seed=0)
    while it.step(np.arange(5.0) * it.vector):
        pass
    assert it.breakdown
    assert it.num_steps == 5
    np.testing.assert_allclose(it.result().quadrature()[0], np.arange(5.0), atol=1e-14)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"dim": 0}, ValueError, "dim must be at least 1, got 0"),
        ({"dim": 2.5}, TypeError, "dim must be an integer, got 2.5"),
        ({"dim": True}, TypeError, "dim must be an integer, got True"),
        ({"max_steps": -1}, ValueError, "max_steps must be at least 1, got -1"),
        ({"v0": np.zeros(8)}, ValueError, "v0 is zero"),
        ({"v0": np.ones(7)}, ValueError, r"v0 has shape \(7,\); want \(8,\)"),
        ({"v0": np.full(8, np.nan)}, ValueError, "v0 has 8 entries that are NaN or infinite"),
        ({"v0": np.ones(8, np.clongdouble)}, TypeError, "v0 has dtype c"),
        ({"v0": np.ones(8), "seed": 1}, ValueError, "v0 or seed, not both"),
        ({"seed": "x"}, TypeError, "seed must be an integer"),
        ({"reorthogonalize": "partial"}, ValueError, '"full" or "none", got \'partial\''),
        ({"basis_dtype": "float16"}, ValueError, '"float64" or "float32", got \'float16\''),
    ],
)
def test_bad_arguments_are_told(arguments, error, message):
    with pytest.raises(error, match=message):
        fl.LanczosIteration(**{"dim": 8, "max_steps": 4} | arguments)


def test_a_foreign_or_torn_state_is_refused():
    it = fl.LanczosIteration(20, 4, seed=0)
    it.step(it.vector)
    state = it.state_dict()
    with pytest.raises(ValueError, match="not a LanczosIteration state: want a dict, got list"):
        fl.LanczosIteration.from_state_dict([])
    with pytest.raises(ValueError, match="version 1: got 99"):
        fl.LanczosIteration.from_state_dict(state | {"version": 99})
    with pytest.raises(ValueError, match="lacks candidate"):
        fl.LanczosIteration.from_state_dict({k: v for k, v in state.items() if k != "candidate"})
    with pytest.raises(ValueError, match="candidate has shape"):
        fl.LanczosIteration.from_state_dict(state | {"candidate": np.zeros(3)})
    with pytest.raises(ValueError, match="basis has shape"):
        fl.LanczosIteration.from_state_dict(state | {"basis": np.zeros((3, 20))})


def test_no_result_before_the_first_step():
    with pytest.raises(ValueError, match="no step has been taken"):
        fl.LanczosIteration(8, 4, seed=0).result()


@pytest.mark.parametrize(
    ("gibibytes", "options"),
    [
        (60, r'basis_dtype="float32" \(.*; or num_steps=74; or reorthogonalize="none"'),
        (30, r'What fits: num_steps=34; or reorthogonalize="none"'),
        (4, "What fits: nothing, the vectors alone are too large"),
    ],
)
def test_a_basis_that_cannot_be_reserved_is_told_with_what_would_fit(monkeypatch, gibibytes, options):
    def refuse(rows, columns, dtype):
        raise MemoryError

    monkeypatch.setattr("fastlanczos.engine.host_run.aligned_rows", refuse)
    monkeypatch.setattr("fastlanczos.engine.kinds.available_memory", lambda: gibibytes * 2**30)
    with pytest.raises(MemoryError, match=r"basis of 100 vectors .* needs .* GiB in float64") as caught:
        fl.LanczosIteration(10**8, 100, v0=np.ones(1))
    assert re.search(options, str(caught.value)), caught.value


def test_repr_says_where_it_is():
    it = fl.LanczosIteration(8, 4, seed=0)
    assert repr(it) == "LanczosIteration(dim=8, step 0 of 4, reorthogonalize='full')"
