"""Seeds that are added until all claims are decided."""

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")

from tqdm import tqdm

from fastlanczos.study.claims import Claim
from fastlanczos.study.findings import Finding
from fastlanczos.study.rounds import Limits, until_decided
from fastlanczos.study.workers import Workers

EFFECTS = {"clear": 8.0, "faint": 0.8, "none": 0.0}


class Drawn:
    """A run that draws a number about its effect."""

    def __init__(self, kept, name, seed):
        self.kept, self.name, self.seed = kept, name, seed

    def missing(self):
        """Return 1 before it is drawn."""
        return int(self.seed not in self.kept[self.name])

    def perform(self, done):
        """Draw it."""
        noise = np.random.default_rng([list(EFFECTS).index(self.name), self.seed]).normal()
        self.kept[self.name][self.seed] = EFFECTS[self.name] + noise
        done(self.name)


def study(limits):
    kept = {name: {} for name in EFFECTS}

    def look():
        found = []
        for name in EFFECTS:
            claim = Claim(name, "", name, "", "", (0.0, float("inf")), "number", (name,), len)
            found.append(Finding(claim, list(kept[name]), list(kept[name].values()), limits.max_seeds))
        return found

    with tqdm(disable=True) as bar, Workers(1) as workers:
        found = until_decided(tuple(EFFECTS), lambda n, s: Drawn(kept, n, s), look, limits, workers, bar)
    return {one.claim.key: one for one in found}


def test_only_what_is_undecided_gets_more_seeds():
    found = study(Limits(4, 12))
    assert found["clear"].verdict == "confirmed"
    assert len(found["clear"].seeds) < 6
    assert 6 < len(found["faint"].seeds) <= 12
    assert (found["none"].verdict, len(found["none"].seeds)) == ("undecided", 12)


def test_no_seed_is_begun_after_the_hours():
    assert {len(one.seeds) for one in study(Limits(4, 12, hours=0.0)).values()} == {4}
