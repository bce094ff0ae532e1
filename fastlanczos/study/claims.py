"""The paper's claims, each as a number of the runs of one seed and what the paper says of that number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastlanczos.report.results import RunResult
from fastlanczos.tracking.measurement import Measurement

__all__ = ["Claim", "Runs", "claims"]

Runs = dict[str, RunResult]  # of one seed, by the network
_ANY = float("inf")
_SPECTRUM, _OUTLIERS = "What the spectrum looks like in training", "Batch norm and outliers"
_GRADIENT, _SHAPE = "Where the gradient lies", "What makes the loss smooth"
_SPEED = "How fast training goes"


@dataclass(frozen=True)
class Claim:
    """A claim, the statistic that speaks for or against it, and the networks whose runs it takes.

    The claim is that the mean of `of(runs)` over seeds lies above `claimed[0]` and below `claimed[1]`. `shown` says how
    people write the statistic: "number", "share" (0.28 is 28%) or "times" (a log10; 0.3 is 2 x). `grain` is the step
    that it comes in, if it does.
    """

    key: str
    question: str
    text: str
    source: str
    statistic: str
    claimed: tuple[float, float]
    shown: str
    networks: tuple[str, ...]
    of: Callable[[Any], float]
    grain: float = 0.0


def claims(settings: dict[str, Any]) -> list[Claim]:
    """Return the claims that a study with these settings can speak of."""
    classes, k = settings["classes"], settings["k"]
    names = tuple(settings["networks"])
    trained = [step for step in settings["measure_at"] if step > 0]
    ordered = sorted(settings["measure_at"])
    before = max(step for step in ordered if step <= settings["drop_at"])
    after = min((step for step in ordered if step > settings["drop_at"]), default=ordered[-1])
    normed, without = (tuple(n for n in names if ("batch norm" in n) is which) for which in (True, False))

    def over(statistic: Callable[[RunResult], float], which: tuple[str, ...] = names) -> Callable[[Runs], float]:
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
        return float(np.log10(run.at(after).top[0] / run.at(before).top[0]))

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
        found = [d for name in names for d in _descents(runs[name])]
        errors = [abs(d["predicted"][-1] - d["plain"][-1]) / abs(d["plain"][0] - d["plain"][-1]) for d in found]
        return float(np.median(errors))

    def lower(kind: str, than: str) -> Callable[[RunResult], float]:
        # A descent that diverges ends in a loss that is not a number, and is lower than nothing.
        return lambda run: float(np.mean([d[kind][-1] < d[than][-1] for d in _descents(run)]))

    found = [
        Claim(
            "negative",
            _SPECTRUM,
            "Large negative eigenvalues of early training shrink fast",
            "section 3",
            "|lambda_min| / lambda_max at the end, against its largest value",
            (-_ANY, -0.3),
            "times",
            names,
            over(negative),
        ),
        Claim(
            "near-zero",
            _SPECTRUM,
            "Most of the spectrum's mass sits near zero",
            "section 3",
            "share of eigenvalues within 1% of lambda_max at the end",
            (0.5, _ANY),
            "share",
            names,
            over(near_zero),
        ),
        Claim(
            "outliers",
            _SPECTRUM,
            "About as many positive outliers as classes",
            "section 3",
            f"place of the widest gap (as a ratio) among the top eigenvalues at the end; {classes} classes",
            (classes - 2.5, classes + 1.5),
            "number",
            names,
            over(outliers),
            1.0 / len(names),
        ),
        Claim(
            "rate-drop",
            _SPECTRUM,
            "The largest eigenvalue rises when the learning rate drops",
            "section 3",
            "lambda_1 after the drop against before",
            (0.0, _ANY),
            "times",
            names,
            over(drop_of_rate),
        ),
    ]
    for kind in ("residual", "plain"):
        pair = (kind, f"{kind}, batch norm")
        if not set(pair) <= set(names):
            continue

        def without_minus_with(
            of: Callable[[RunResult], float], pair: tuple[str, str] = pair
        ) -> Callable[[Runs], float]:
            return lambda runs: of(runs[pair[0]]) - of(runs[pair[1]])

        found += [
            Claim(
                f"stand-out-{kind}",
                _OUTLIERS,
                f"Without batch norm outliers stand out further ({kind})",
                "section 4",
                f"lambda_1 / lambda_{k} without batch norm against with it, mean over training",
                (0.0, _ANY),
                "times",
                pair,
                without_minus_with(ratio),
            ),
            Claim(
                f"gradient-{kind}",
                _GRADIENT,
                f"Without batch norm the gradient lies more in the top eigenspace ({kind})",
                "section 4",
                "share of |g|^2 in the top 10 eigenvectors, without batch norm minus with it",
                (0.0, _ANY),
                "share",
                pair,
                without_minus_with(concentration),
            ),
            Claim(
                f"faster-{kind}",
                _SPEED,
                f"Batch norm trains faster ({kind})",
                "section 4",
                "steps to a loss of 0.5 without batch norm against with it",
                (0.0, _ANY),
                "times",
                pair,
                without_minus_with(steps_to_learn),
            ),
        ]
    found += [
        Claim(
            "gradient-nearly-all",
            _GRADIENT,
            "Without batch norm nearly all of the gradient lies in the top eigenspace",
            "section 4",
            'share of |g|^2 in the top 10 eigenvectors, mean over training; "nearly all" taken as 90%',
            (0.9, _ANY),
            "share",
            without,
            over(concentration, without),
        ),
        Claim(
            "residual-smoother",
            _SHAPE,
            "Residual connections make the loss smoother",
            "section 3",
            "lambda_1 of the plain network against the residual one, without batch norm, mean over training",
            (0.0, _ANY),
            "times",
            ("plain", "residual"),
            lambda runs: _sharpness(runs["plain"], trained) - _sharpness(runs["residual"], trained),
        ),
    ]
    if settings["population_at"]:
        found += [
            Claim(
                "population-outliers",
                _OUTLIERS,
                "With the statistics of the population the outliers are back",
                "section 4",
                f"lambda_1 / lambda_{k} with population against batch statistics",
                (0.0, _ANY),
                "times",
                normed,
                over(population(ratio), normed),
            ),
            Claim(
                "population-gradient",
                _GRADIENT,
                "With the statistics of the population the gradient lies more in the top eigenspace",
                "section 4",
                "share of |g|^2 in the top 10 eigenvectors, population minus batch statistics",
                (0.0, _ANY),
                "share",
                normed,
                over(population(concentration), normed),
            ),
        ]
    if settings["descend_at"]:
        grain = 1.0 / (len(settings["descend_at"]) * len(names))
        found += [
            Claim(
                "prediction",
                _SPEED,
                "Spectrum and gradient distribution predict how the loss falls",
                "section 4",
                f"error of the quadratic model after {settings['descent_steps']} steps of gradient descent, as a share "
                "of the change (median over networks and points of training)",
                (-_ANY, 0.25),
                "share",
                names,
                prediction,
            ),
            Claim(
                "outliers-removed",
                _SPEED,
                "Without the outliers gradient descent is faster",
                "section 4",
                "share of descents that end lower with the outliers taken out by preconditioning",
                (0.5, _ANY),
                "share",
                names,
                over(lower("removed", "plain")),
                grain,
            ),
            Claim(
                "outliers-added",
                _SPEED,
                "With larger outliers gradient descent is slower",
                "section 4",
                "share of descents that end higher with outliers made ten times as large",
                (0.5, _ANY),
                "share",
                names,
                over(lower("plain", "added")),
                grain,
            ),
        ]
    return [claim for claim in found if claim.networks and set(claim.networks) <= set(names)]


def _at(run: RunResult, steps: list[int]) -> list[Measurement]:
    return [m for m in run.measurements if m.step in steps]


def _descents(run: RunResult) -> list[dict[str, list[float]]]:
    return [run.descents[step] for step in sorted(run.descents)]


def _sharpness(run: RunResult, steps: list[int]) -> float:
    return float(np.mean([np.log10(m.top[0]) for m in _at(run, steps)]))
