"""Verdicts that follow from numbers."""

import pytest

pytest.importorskip("torch")

from fastlanczos.study.claims import Claim
from fastlanczos.study.findings import Finding, written

INFINITY = float("inf")


def finding(values, claimed=(0.0, INFINITY), shown="number", networks=("plain",), grain=0.0, most=4):
    claim = Claim("key", "question", "claim", "section 4", "statistic", claimed, shown, networks, len, grain)
    return Finding(claim, list(range(len(values))), values, most)


@pytest.mark.parametrize(
    ("values", "claimed", "verdict"),
    [
        ([1.0, 1.1, 0.9, 1.0], (0.0, INFINITY), "confirmed"),
        ([-1.0, -1.1, -0.9, -1.0], (0.0, INFINITY), "opposite"),
        ([1.0, -1.0, 0.5, 0.1], (0.0, INFINITY), "undecided"),
        ([9.0, 9.5, 10.0, 9.5], (7.5, 11.5), "confirmed"),
        ([2.0, 2.1, 2.2, 2.0], (7.5, 11.5), "opposite"),
        ([0.1], (0.0, INFINITY), "undecided"),
        ([], (0.0, INFINITY), "not measured"),
    ],
)
def test_the_verdict_follows_from_the_interval(values, claimed, verdict):
    found = finding(values, claimed)
    assert found.verdict == verdict
    assert found.decided == (verdict in ("confirmed", "opposite"))


def test_a_verdict_stays_when_more_seeds_come():
    first = [1.0, 1.02, 0.98, 1.0]
    assert finding(first, most=12).verdict == "confirmed"
    later = finding([*first, 4.0, -5.0], most=12)
    assert later.verdict == "confirmed"
    assert later.interval == finding(first, most=12).interval


def test_what_is_undecided_says_what_it_would_take():
    found = finding([1.0, -1.0, 0.9, 0.2], most=12)
    assert (found.leaning, found.verdict) == ("for it", "undecided")
    assert 12 < found.seeds_needed < 200
    assert finding([1.0, 1.1, 0.9, 1.0]).seeds_needed is None
    assert finding([-0.1]).leaning == "against it"
    assert finding([]).leaning == ""


def test_shares_of_few_trials_are_not_certain():
    assert finding([1.0] * 4, (0.9, INFINITY), grain=0.25).verdict == "undecided"
    assert finding([1.0] * 4, (0.5, INFINITY), grain=0.125).verdict == "confirmed"


def test_numbers_are_written_as_people_write_them():
    assert written(0.18, "times") == "1.51 x"
    assert written(0.283, "share") == "28.3%"
    assert written(2.25, "number") == "2.25"
    low, high = finding([1.0, 2.0, 3.0, 2.0]).interval
    assert finding([1.0, 2.0, 3.0, 2.0]).text() == f"2 ({low:.3g} to {high:.3g})"
    assert finding([0.5, 0.25], shown="share").text() == "37.5% (2 seeds)"
    assert finding([]).text() == "-"


def test_a_row_holds_all_of_it():
    row = finding([0.1, 0.2, 0.3, 0.2], (0.25, INFINITY), "share").row()
    assert row["claimed"] == [0.25, None]
    assert (row["seeds"], row["verdict"], row["leaning"]) == ([0, 1, 2, 3], "undecided", "against it")
    assert row["text"].startswith("20%")
