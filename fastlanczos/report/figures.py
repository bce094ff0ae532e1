"""The paper's figures from one's own runs, drawn with matplotlib: F1 to F8 of a study, or one picture of each run."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastlanczos.files import write_whole
from fastlanczos.report.folder import Contents, TrackedRun, read
from fastlanczos.study.results import Results
from fastlanczos.torch.measurement import Measurement

__all__ = ["draw_run", "write_figures"]


def write_figures(folder: str | os.PathLike[str], output: str | os.PathLike[str] | None = None) -> list[Path]:
    """Write the static figures on a tracker's or a study's folder as PNGs, by default into it; return their paths.

    Raises FileNotFoundError where the folder holds no measurements, ImportError where matplotlib is missing.
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


def draw_run(measurements: Sequence[Measurement]) -> Any:
    """Draw one run: densities at some steps, extreme eigenvalues, and the gradient's concentration; return the figure.

    Raises ValueError where there is no measurement.
    """
    if not measurements:
        raise ValueError("there is no measurement to draw yet")
    figure = _figure(11, 3.6)
    first, second, third = figure.subplots(1, 3)
    _densities(first, measurements)
    steps = [m.step for m in measurements]
    second.plot(steps, [m.largest for m in measurements], "o-", label="largest")
    second.plot(steps, [m.smallest for m in measurements], "o-", label="most negative")
    second.set(xlabel="step", ylabel="eigenvalue", yscale="symlog")
    second.legend(frameon=False)
    k = len(measurements[0].concentration)
    third.plot(steps, [m.concentration[-1] for m in measurements], "o-")
    third.set(xlabel="step", ylabel=f"gradient's energy in the top {k}", ylim=(-0.03, 1.03))
    return figure


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
    return figures


def _figure(width: float, height: float) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("figures need matplotlib: pip install 'fastlanczos[plot]'") from None
    return Figure(figsize=(width, height), layout="constrained")


def _densities(ax: Any, measurements: Sequence[Measurement], most: int = 4) -> None:
    from matplotlib import colormaps

    chosen = sorted({int(i) for i in np.linspace(0, len(measurements) - 1, min(most, len(measurements))).round()})
    for place, i in enumerate(chosen):
        m = measurements[i]
        color = colormaps["viridis"](0.85 * place / max(1, len(chosen) - 1))
        m.density.plot(ax, level=None, color=color, lw=1, label=f"step {m.step}")
    ax.legend(frameon=False, fontsize="small")


def _figure_of_densities(groups: dict[str, list[TrackedRun]]) -> Any:
    figure = _figure(10, 2.8 * -(-len(groups) // 2))
    for ax, (name, runs) in zip(
        figure.subplots(-(-len(groups) // 2), 2, squeeze=False).flat, groups.items(), strict=False
    ):
        _densities(ax, runs[0].measurements)
        ax.set_title(name, fontsize="medium")
    return figure


def _lines(
    groups: dict[str, list[TrackedRun]], quantities: dict[str, tuple[Callable[[Measurement], float], str]], drop: int
) -> Any:
    figure = _figure(5.2 * min(2, len(quantities)), 3.4 * -(-len(quantities) // 2))
    axes = figure.subplots(-(-len(quantities) // 2), min(2, len(quantities)), squeeze=False).flat
    for ax, (title, (value, scale)) in zip(axes, quantities.items(), strict=False):
        _line(ax, groups, value, scale, drop)
        ax.set(ylabel=title)
    for ax in list(axes)[len(quantities) :]:
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
    figure = _figure(10.4, 3.6)
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
    figure = _figure(10.4, 3.6)
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
    right.set(xlabel="Lanczos steps", ylabel="largest gap of the cumulative distributions")
    right.legend(frameon=False)
    return figure


def _prediction(study: Results) -> Any:
    shown = [(run, step) for run in study.runs if run.seed == study.runs[0].seed for step in sorted(run.descents)]
    columns = min(4, len(shown))
    figure = _figure(3.1 * columns, 2.7 * -(-len(shown) // columns))
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
