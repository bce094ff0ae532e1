"""fastlanczos/krylov/state.py: a damaged state is a ValueError that names the entry, whatever has been done to it."""

import copy

import numpy as np
import pytest
from cases.soak import examples
from hypothesis import given, settings
from hypothesis import strategies as st

import fastlanczos as fl

N, STEPS = 12, 6
D = np.linspace(-1.0, 2.0, N)
OPTIONS = [{}, {"basis_dtype": "float32"}, {"reorthogonalize": "none"}]


def state_of(options, steps=3):
    it = fl.LanczosIteration(N, STEPS, seed=0, **options)
    for _ in range(steps):
        it.step(D * it.vector)
    return it.state_dict()


STATES = [state_of(options, steps) for options in OPTIONS for steps in (0, 3, STEPS)]


@pytest.mark.parametrize("state", STATES, ids=range(len(STATES)))
def test_a_whole_state_is_taken_up_to_the_same_bits(state):
    it = fl.LanczosIteration.from_state_dict(copy.deepcopy(state))
    again = it.state_dict()
    assert again.keys() == state.keys()
    for name, value in state.items():
        if name != "scalars":
            np.testing.assert_array_equal(again[name], value)
    while not it.finished:
        it.step(D * it.vector)
    whole = state_of({name: state[name] for name in ("reorthogonalize", "basis_dtype")}, STEPS)
    assert it.state_dict()["scalars"]["alpha"] == whole["scalars"]["alpha"]


@pytest.mark.parametrize(
    ("entry", "value", "message"),
    [
        ("version", 2, "of version 1: got 2"),
        ("version", np.zeros(2), "of version 1"),
        ("dim", -5, "dim must be at least 1, got -5"),
        ("dim", np.arange(3), "dim must be an integer"),
        ("max_steps", "many", "max_steps must be an integer, got 'many'"),
        ("basis_dtype", {}, r"basis_dtype must be one of float64, float32; got \{\}"),
        ("reorthogonalize", None, "reorthogonalize must be one of full, none"),
        ("like", "zebra", "like must be one of numpy, float64, float32, complex128, complex64; got 'zebra'"),
        ("precision", float("nan"), "precision is not finite"),
        ("scalars", np.zeros(9), "scalars must be a dict, got ndarray"),
        ("candidate", np.full(N, np.nan), "candidate has 12 entries that are NaN"),
        ("candidate", np.ones(N), "candidate must be a unit vector"),
        ("basis", None, r"basis has shape \(\), want \(3, 12\)"),
        ("basis", np.ones((3, N), dtype=complex), "basis must hold real numbers, got dtype complex128"),
        ("recent", np.zeros(3), r"recent has shape \(3,\), want \(0,\)"),
    ],
)
def test_a_damaged_entry_is_named(entry, value, message):
    with pytest.raises(ValueError, match=message):
        fl.LanczosIteration.from_state_dict({**state_of({}), entry: value})


@pytest.mark.parametrize(
    ("entry", "value", "message"),
    [
        ("alpha", [np.nan, 1.0, 2.0], "alpha has 1 entries that are NaN"),
        ("beta", [1.0], r"beta has shape \(1,\), want \(3,\)"),
        ("steps", 7, "steps must be an integer from 0 to 6, got 7"),
        ("steps", 2.0, "steps must be an integer"),
        ("breakdown", "no", "breakdown must be True or False"),
        ("scale", float("inf"), "scale is not finite"),
        ("max_projection", -1.0, "max_projection must not be negative"),
        ("h", [0.0, 0.0, 2.0], "h must be shorter than 1"),
    ],
)
def test_a_damaged_scalar_is_named(entry, value, message):
    state = state_of({})
    state["scalars"] = {**state["scalars"], entry: value}
    with pytest.raises(ValueError, match=f"scalars.*{message}"):
        fl.LanczosIteration.from_state_dict(state)


def test_what_is_no_state_is_told():
    for thing in (None, [], 3, "state", np.zeros(3)):
        with pytest.raises(ValueError, match="not a LanczosIteration state: want a dict"):
            fl.LanczosIteration.from_state_dict(thing)
    with pytest.raises(ValueError, match="the state lacks candidate, max_steps, recent, scalars"):
        fl.LanczosIteration.from_state_dict({"version": 1, "dim": 3, "basis_dtype": 1, "reorthogonalize": 1})


ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.complex_numbers(),
    st.text(max_size=5),
    st.lists(st.one_of(st.floats(), st.text(max_size=2), st.lists(st.floats(), max_size=2)), max_size=7),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    st.sampled_from([np.zeros(3), np.zeros((3, N)), np.full(N, np.inf), np.array("x"), np.zeros(N, "M8[s]"), object()]),
)


@pytest.mark.soak
@settings(max_examples=examples(2000))
@given(st.integers(0, len(STATES) - 1), st.data())
def test_a_state_with_anything_in_it_is_taken_up_or_told(which, data):
    state = copy.deepcopy(STATES[which])
    for _ in range(data.draw(st.integers(1, 2))):
        part = state["scalars"] if data.draw(st.booleans()) and isinstance(state.get("scalars"), dict) else state
        if not part:
            continue
        name = data.draw(st.sampled_from(sorted(part)))
        if data.draw(st.booleans()):
            part[name] = data.draw(ANYTHING)
        else:
            del part[name]
    try:
        it = fl.LanczosIteration.from_state_dict(state)
    except ValueError as error:
        if "state" not in str(error):
            raise
        return
    while not it.finished:
        it.step(D * it.vector)
    assert np.isfinite(it.alpha).all()
    assert np.isfinite(it.beta).all()
