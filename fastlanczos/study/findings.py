"""The paper's claims, the measured numbers, and verdicts computed from the confidence intervals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.stats

from fastlanczos.report.results import Results, RunResult
from fastlanczos.tracking.measurement import Measurement

__all__ = ["Finding", "findings"]

Runs = dict[str, RunResult]


@dataclass(frozen=True)
class Finding:
    """A claim, the statistic that speaks for or against it, and what came out.

    `values` has a number for each seed. The claim is that the statistic lies above `claimed[0]` and below `claimed[1]`;
    the verdict is "confirmed" where the whole 95% interval (Student's t over the seeds) does, "opposite" where it all
    lies outside, "not seen" where it is too wide to tell, "one seed" where there is no interval.
    """

    claim: str
    statistic: str
    claimed: tuple[float, float]
    values: list[float]

    @property
    def mean(self) -> float:
        """The mean over seeds."""
        return float(np.mean(self.values))

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% interval of the mean; (nan, nan) for one seed."""
        n = len(self.values)
        if n < 2:
            return float("nan"), float("nan")
        half = scipy.stats.t.ppf(0.975, n - 1) * np.std(self.values, ddof=1) / np.sqrt(n)
        return self.mean - float(half), self.mean + float(half)

    @property
    def verdict(self) -> str:
        """What the numbers say of the claim."""
        if not self.values:
            return "not measured"
        if len(self.values) == 1:
            inside = self.claimed[0] < self.mean < self.claimed[1]
            return "one seed, for it" if inside else "one seed, against it"
        low, high = self.interval
        if self.claimed[0] < low and high < self.claimed[1]:
            return "confirmed"
        if high < self.claimed[0] or low > self.claimed[1]:
            return "opposite"
        return "not seen"

    def text(self) -> str:
        """Return the measured number with its interval."""
        if not self.values:
            return "-"
        if len(self.values) == 1:
            return f"{self.mean:.3g} (one seed)"
        low, high = self.interval
        return f"{self.mean:.3g} ({low:.3g} to {high:.3g})"


def findings(results: Results) -> list[Finding]:
    """Hold a study's results against the paper's claims."""
    return [
        Finding(claim, statistic, claimed, results.by_seed(of)) for claim, statistic, claimed, of in _claims(results)
    ]


_ANY = float("inf")


def _claims(results: Results) -> list[tuple[str, str, tuple[float, float], Callable[[Runs], float]]]:
    settings = results.settings
    classes, k = settings["classes"], settings["k"]
    drop = settings["drop_at"]
    names = settings["networks"]
    trained = [step for step in settings["measure_at"] if step > 0]
    ordered = sorted(settings["measure_at"])
    before = max(step for step in ordered if step <= drop)
    after = min((step for step in ordered if step > drop), default=ordered[-1])

    def over(statistic: Callable[[RunResult], float], which: list[str] = names) -> Callable[[Runs], float]:
        return lambda runs: float(np.mean([statistic(runs[name]) for name in which]))

    def ratio(run: RunResult) -> float:
        return float(np.mean([np.log10(m.ratio) for m in run.measurements if m.step in trained and m.top[-1] > 0]))

    def concentration(run: RunResult) -> float:
        return float(np.mean([m.concentration[9 if len(m.concentration) > 9 else -1] for m in _at(run, trained)]))

    def negative(run: RunResult) -> float:
        shares = [-m.smallest / m.largest for m in run.measurements]
        return float(np.log10(max(shares[-1], 1e-12) / max(shares)))

    def near_zero(run: RunResult) -> float:
        m = run.at(settings["steps"])
        return float(np.mean(np.sum(np.where(np.abs(m.nodes) < 0.01 * m.largest, m.weights, 0.0), axis=1)))

    def outliers(run: RunResult) -> float:
        top = run.at(settings["steps"]).top
        top = top[top > 0]
        return float(1 + np.argmax(top[:-1] / top[1:]))

    def drop_of_rate(run: RunResult) -> float:
        first, second = run.at(before), run.at(after)
        return float(np.log10(second.top[0] / first.top[0]))

    def steps_to_learn(run: RunResult) -> float:
        smooth = np.convolve(run.losses, np.ones(10) / 10, mode="valid")
        return float(np.log10(1 + int(np.argmax(smooth < 0.5)) if (smooth < 0.5).any() else len(run.losses)))

    def population(statistic: Callable[[RunResult], float]) -> Callable[[RunResult], float]:
        def difference(run: RunResult) -> float:
            steps = [m.step for m in run.population]
            batch = RunResult(run.name, run.seed, _at(run, steps), [], {}, [])
            return statistic(RunResult(run.name, run.seed, run.population, [], {}, [])) - statistic(batch)

        return difference

    def prediction(runs: Runs) -> float:
        # The median over networks and points: where descent diverges, no error is too large to be seen.
        descents = [d for name in names for d in _descents(runs[name])]
        errors = [abs(d["predicted"][-1] - d["plain"][-1]) / abs(d["plain"][0] - d["plain"][-1]) for d in descents]
        return float(np.median(errors))

    def lower(kind: str, than: str) -> Callable[[RunResult], float]:
        # A descent that diverges ends in a loss that is not a number, and is lower than nothing.
        return lambda run: float(np.mean([d[kind][-1] < d[than][-1] for d in _descents(run)]))

    claims = [
        (
            "Large negative eigenvalues of early training shrink fast",
            "log10 of |lambda_min| / lambda_max at the end, against its largest value",
            (-_ANY, -0.3),
            over(negative),
        ),
        (
            "Most of the spectrum's mass sits near zero",
            "share of eigenvalues within 1% of lambda_max at the end",
            (0.5, _ANY),
            over(near_zero),
        ),
        (
            "About as many positive outliers as classes",
            f"place of the widest gap (as a ratio) among the top eigenvalues at the end; {classes} classes",
            (classes - 2.5, classes + 1.5),
            over(outliers),
        ),
        (
            "The largest eigenvalue rises when the learning rate drops",
            "log10 of lambda_1 after the drop against before",
            (0.0, _ANY),
            over(drop_of_rate),
        ),
    ]
    for kind in ("residual", "plain"):
        if {kind, f"{kind}, batch norm"} <= set(names):

            def without_minus_with(of: Callable[[RunResult], float], kind: str = kind) -> Callable[[Runs], float]:
                return lambda runs: of(runs[kind]) - of(runs[f"{kind}, batch norm"])

            claims += [
                (
                    f"Without batch norm outliers stand out further ({kind})",
                    f"log10 of lambda_1 / lambda_{k} without batch norm against with it, mean over training",
                    (0.0, _ANY),
                    without_minus_with(ratio),
                ),
                (
                    f"Without batch norm the gradient lies more in the top eigenspace ({kind})",
                    "share of |g|^2 in the top 10 eigenvectors, without batch norm minus with it",
                    (0.0, _ANY),
                    without_minus_with(concentration),
                ),
                (
                    f"Batch norm trains faster ({kind})",
                    "log10 of the steps to a loss of 0.5 without batch norm against with it",
                    (0.0, _ANY),
                    without_minus_with(steps_to_learn),
                ),
            ]
    without, normed = [n for n in names if "batch norm" not in n], [n for n in names if "batch norm" in n]
    claims += [
        (
            "Without batch norm nearly all of the gradient lies in the top eigenspace",
            "share of |g|^2 in the top 10 eigenvectors, mean over training",
            (0.9, _ANY),
            over(concentration, without),
        ),
        (
            "With the statistics of the population the outliers are back",
            f"log10 of lambda_1 / lambda_{k} with population against batch statistics",
            (0.0, _ANY),
            over(population(ratio), normed),
        ),
        (
            "With the statistics of the population the gradient lies more in the top eigenspace",
            "share of |g|^2 in the top 10 eigenvectors, population minus batch statistics",
            (0.0, _ANY),
            over(population(concentration), normed),
        ),
        (
            "Residual connections make the loss smoother",
            "log10 of lambda_1 of the plain network against the residual one, without batch norm, mean over training",
            (0.0, _ANY),
            lambda runs: _sharpness(runs["plain"], trained) - _sharpness(runs["residual"], trained),
        ),
        (
            "Spectrum and gradient distribution predict how the loss falls",
            f"error of the quadratic model after {settings['descent_steps']} steps of gradient descent, as a share of "
            "the change (median over networks and points of training)",
            (-_ANY, 0.25),
            prediction,
        ),
        (
            "Without the outliers gradient descent is faster",
            "share of descents that end lower with the outliers taken out by preconditioning",
            (0.5, _ANY),
            over(lower("removed", "plain")),
        ),
        (
            "With larger outliers gradient descent is slower",
            "share of descents that end higher with outliers made ten times as large",
            (0.5, _ANY),
            over(lower("plain", "added")),
        ),
    ]
    return claims


def _at(run: RunResult, steps: list[int]) -> list[Measurement]:
    return [m for m in run.measurements if m.step in steps]


def _descents(run: RunResult) -> list[dict[str, list[float]]]:
    return [run.descents[step] for step in sorted(run.descents)]


def _sharpness(run: RunResult, steps: list[int]) -> float:
    return float(np.mean([np.log10(m.top[0]) for m in _at(run, steps)]))
