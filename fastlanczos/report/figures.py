"""The paper's figures from one's own runs, drawn with matplotlib: F1 to F8 of a study, or one picture of each run."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fastlanczos.report.folder import Contents, TrackedRun, read
from fastlanczos.report.results import Results
from fastlanczos.system.files import write_whole
from fastlanczos.tracking.measurement import Measurement
from fastlanczos.tracking.pictures import draw_densities, draw_run, new_figure

__all__ = ["write_figures"]


def write_figures(folder: str | os.PathLike[str], output: str | os.PathLike[str] | None = None) -> list[Path]:
    """Write the static figures on a tracker's or a study's folder as PNGs, by default into it; return their paths.

    Raises FileNotFoundError if the folder holds no measurements, ImportError where matplotlib is missing.
    """
    place = Path(folder)
    contents = read(place)
    target = Path(output) if output is not None else place / "figures"
    drawn = _of_a_study(contents) if contents.study is not None else _of_runs(contents)
    paths = []
    for name, figure in drawn.items():
        path = target / f"{name}.png"
        with write_whole(path) as file:
            figure.savefig(file, format="png", dpi=130)
        paths.append(path)
    return paths


def _of_runs(contents: Contents) -> dict[str, Any]:
    return {
        (run.name if not run.label else f"{run.name}-{run.label}").replace(os.sep, "-"): draw_run(run.measurements)
        for run in contents.runs
    }


def _of_a_study(contents: Contents) -> dict[str, Any]:
    study = contents.study
    assert study is not None
    groups = contents.named()
    drop = study.settings["drop_at"]
    figures = {}
    if study.validation is not None:
        figures["F1-exact-density"] = _exact(study.validation)
    trained = {name: runs for name, runs in groups.items() if "population" not in name}
    figures["F2-densities"] = _figure_of_densities(trained)
    figures["F3-through-training"] = _lines(
        trained,
        {
            "largest eigenvalue": (lambda m: float(m.top[0]), "log"),
            "most negative eigenvalue": (lambda m: m.smallest, "symlog"),
            "negative mass": (lambda m: m.negative_mass, "linear"),
            "trace": (lambda m: m.trace, "symlog"),
        },
        drop,
    )
    k = study.settings["k"]
    figures["F4-outliers"] = _lines(trained, {f"$\\lambda_1 / \\lambda_{{{k}}}$": (lambda m: m.ratio, "log")}, drop)
    concentrated = {f"share of $|g|^2$ in the top {k}": (lambda m: float(m.concentration[-1]), "linear")}
    figures["F5-gradient"] = _gradient(trained, concentrated, drop)
    population = {name: runs for name, runs in groups.items() if "batch norm" in name}
    if population:
        figures["F6-population-statistics"] = _lines(
            population, {f"$\\lambda_1 / \\lambda_{{{k}}}$": (lambda m: m.ratio, "log"), **concentrated}, drop
        )
    if any(run.descents for run in study.runs):
        figures["F7-prediction"] = _prediction(study)
    plain = {name: runs for name, runs in trained.items() if "batch norm" not in name}
    if len(plain) > 1:
        figures["F8-residual-and-plain"] = _lines(
            plain,
            {
                "largest eigenvalue": (lambda m: float(m.top[0]), "log"),
                "negative mass": (lambda m: m.negative_mass, "linear"),
                "loss": (lambda m: m.loss, "log"),
            },
            drop,
        )
    if contents.ladder:
        figures["F9-ladder"] = _ladder(contents.ladder)
    return figures


def _ladder(rows: list[dict[str, Any]]) -> Any:
    """Each claim's statistic against the number of parameters, with intervals; shaded is what is claimed."""
    claims = {row["key"]: [one for one in rows if one["key"] == row["key"] and one["interval"]] for row in rows}
    figure = new_figure(10, 3.4 * -(-len(claims) // 2))
    axes = figure.subplots(-(-len(claims) // 2), 2, squeeze=False).flat
    for ax, sizes in zip(axes, claims.values(), strict=False):
        if not sizes:
            continue
        at = [one["parameters"] for one in sizes]
        mean = np.array([one["mean"] for one in sizes])
        low, high = (np.array([one["interval"][i] for one in sizes]) for i in (0, 1))
        for one in sizes:
            ax.plot([one["parameters"]] * len(one["values"]), one["values"], ".", color="0.6")
        ax.errorbar(at, mean, [mean - low, high - mean], marker="o", capsize=4)
        limits = [x for x in sizes[0]["claimed"] if x is not None]
        bottom, top = min([ax.get_ylim()[0], *limits]), max([ax.get_ylim()[1], *limits])
        least, most = (x if x is not None else end for x, end in zip(sizes[0]["claimed"], (bottom, top), strict=True))
        ax.axhspan(least, most, color="C2", alpha=0.12, linewidth=0)
        ax.set(xscale="log", xlabel="parameters", ylim=(bottom, top))
        ax.set_title(sizes[0]["claim"], fontsize="medium")
        unit = ", log10" if sizes[0]["shown"] == "times" else ""
        ax.set_ylabel("\n".join(textwrap.wrap(sizes[0]["statistic"] + unit, 42)), fontsize="small")
    return figure


def _figure_of_densities(groups: dict[str, list[TrackedRun]]) -> Any:
    figure = new_figure(10, 2.8 * -(-len(groups) // 2))
    for ax, (name, runs) in zip(
        figure.subplots(-(-len(groups) // 2), 2, squeeze=False).flat, groups.items(), strict=False
    ):
        draw_densities(ax, runs[0].measurements)
        ax.set_title(name, fontsize="medium")
    return figure


def _lines(
    groups: dict[str, list[TrackedRun]], quantities: dict[str, tuple[Callable[[Measurement], float], str]], drop: int
) -> Any:
    figure = new_figure(5.2 * min(2, len(quantities)), 3.4 * -(-len(quantities) // 2))
    axes = list(figure.subplots(-(-len(quantities) // 2), min(2, len(quantities)), squeeze=False).flat)
    for ax, (title, (value, scale)) in zip(axes, quantities.items(), strict=False):
        _line(ax, groups, value, scale, drop)
        ax.set(ylabel=title)
    for ax in axes[len(quantities) :]:
        ax.remove()
    figure.axes[0].legend(frameon=False, fontsize="small")
    return figure


def _line(
    ax: Any, groups: dict[str, list[TrackedRun]], value: Callable[[Measurement], float], scale: str, drop: int
) -> None:
    """Means over the seeds, and from the smallest to the largest of them as a band."""
    for name, runs in groups.items():
        steps = sorted({m.step for run in runs for m in run.measurements})
        columns = [[value(m) for run in runs for m in run.measurements if m.step == step] for step in steps]
        middle = [np.exp(np.mean(np.log(c))) if scale == "log" else np.mean(c) for c in columns]
        (line,) = ax.plot(steps, middle, marker="o", ms=3, label=name, ls=":" if "population" in name else "-")
        ax.fill_between(steps, [min(c) for c in columns], [max(c) for c in columns], color=line.get_color(), alpha=0.15)
    ax.axvline(drop, color="gray", lw=0.8, ls="--")
    ax.set(xlabel="step (dashed: the learning rate drops)", yscale=scale)


def _gradient(
    groups: dict[str, list[TrackedRun]], quantity: dict[str, tuple[Callable[[Measurement], float], str]], drop: int
) -> Any:
    figure = new_figure(10.4, 3.6)
    left, right = figure.subplots(1, 2)
    ((title, (value, scale)),) = quantity.items()
    _line(left, groups, value, scale, drop)
    left.set(ylabel=title, ylim=(-0.03, 1.03))
    left.legend(frameon=False, fontsize="small")
    for name, runs in groups.items():
        m = runs[0].measurements[len(runs[0].measurements) // 2]
        order = np.argsort(m.gradient_nodes)
        relative = m.gradient_nodes[order] / m.largest
        right.step(relative, np.cumsum(m.gradient_weights[order]), where="post", label=f"{name}, step {m.step}")
    right.set(xlabel=r"eigenvalue / $\lambda_1$", ylabel="gradient's energy below", xlim=(-0.3, 1.05))
    right.legend(frameon=False, fontsize="small")
    return figure


def _exact(validation: dict[str, Any]) -> Any:
    figure = new_figure(10.4, 3.6)
    left, right = figure.subplots(1, 2)
    t, sigma = validation["t"], validation["sigma"]
    floor = 1e-2 / (validation["dim"] * sigma * np.sqrt(2 * np.pi))
    left.plot(t, np.maximum(validation["exact"], floor / 10), color="black", lw=2, label="exact")
    left.plot(t, np.maximum(validation["estimate"], floor / 10), color="tab:orange", lw=1, label="estimate")
    left.set(xlabel="eigenvalue", ylabel="density", yscale="log")
    left.set_ylim(bottom=floor)
    left.legend(frameon=False)
    for probes in sorted({e["probes"] for e in validation["errors"]}):
        some = [e for e in validation["errors"] if e["probes"] == probes]
        label = f"{probes} probe{'s' if probes > 1 else ''}"
        right.loglog([e["steps"] for e in some], [e["gap"] for e in some], "o-", label=label)
    steps = sorted({e["steps"] for e in validation["errors"]})
    right.set_xticks(steps, steps)
    right.minorticks_off()
    right.set(xlabel="Lanczos steps", ylabel="largest gap of the cumulative distributions")
    right.legend(frameon=False)
    return figure


def _prediction(study: Results) -> Any:
    shown = [(run, step) for run in study.runs if run.seed == study.runs[0].seed for step in sorted(run.descents)]
    columns = min(4, len(shown))
    figure = new_figure(3.1 * columns, 2.7 * -(-len(shown) // columns))
    axes = figure.subplots(-(-len(shown) // columns), columns, squeeze=False).flat
    for ax, (run, step) in zip(axes, shown, strict=False):
        found = run.descents[step]
        start = found["plain"][0]
        for kind, style in (("plain", "-"), ("predicted", "k--"), ("removed", "-"), ("added", "-")):
            values = np.array(found[kind])
            ax.plot(np.where(values < 2 * start, values, np.nan), style, lw=1.2, label=kind)
        ax.set_title(f"{run.name}, step {step}", fontsize="small")
        ax.set(xlabel="step of gradient descent", ylabel="loss")
    figure.axes[0].legend(frameon=False, fontsize="x-small")
    return figure
