"""One HTML page that contains everything and opens without a network."""

from __future__ import annotations

import json
import math
import os
from importlib import resources
from pathlib import Path
from typing import Any

from fastlanczos.report.folder import Contents, read
from fastlanczos.system.files import write_whole
from fastlanczos.tracking.measurement import Measurement

__all__ = ["write_page"]


def write_page(folder: str | os.PathLike[str], path: str | os.PathLike[str] | None = None) -> Path:
    """Write the report on a tracker's or a study's folder, by default to `report.html` in it; return its path.

    Raises FileNotFoundError if the folder holds no measurements, ImportError where plotly is missing.
    """
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        raise ImportError("the report's page needs plotly: pip install 'fastlanczos[study]'") from None
    place = Path(folder)
    contents = read(place)
    target = Path(path) if path is not None else place / "report.html"
    template = resources.files("fastlanczos.report").joinpath("page.html").read_text(encoding="utf-8")
    # Inside a script element "</script>" would end it, and "<!--<script>" would hide its end: no "<" is left in it.
    data = json.dumps(_plain(_data(contents, place.resolve().name)), allow_nan=False).replace("<", "\\u003c")
    with write_whole(target, "w") as file:
        file.write(template.replace("/*PLOTLY*/", get_plotlyjs()).replace("/*DATA*/", data))
    return target


def _data(contents: Contents, title: str) -> dict[str, Any]:
    study = contents.study
    return {
        "title": title,
        "runs": [
            {"name": run.name, "label": run.label, "measurements": [_measurement(m) for m in run.measurements]}
            for run in contents.runs
        ],
        "findings": contents.findings,
        "ladder": contents.ladder,
        "study": None
        if study is None
        else {
            "settings": study.settings,
            "validation": study.validation,
            "descents": [
                {"name": run.name, "seed": run.seed, "step": step, **found}
                for run in study.runs
                for step, found in run.descents.items()
            ],
        },
    }


def _measurement(m: Measurement) -> dict[str, Any]:
    weights = (m.weights / len(m.weights)).ravel()
    kept = weights > 0
    return {
        **m.summary(),
        "top": m.top.tolist(),
        "concentrations": m.concentration.tolist(),
        "nodes": _short(m.nodes.ravel()[kept]),
        "weights": _short(weights[kept]),
        "gradient_nodes": _short(m.gradient_nodes),
        "gradient_weights": _short(m.gradient_weights),
    }


def _short(values: Any) -> list[float]:
    return [float(f"{v:.7g}") for v in values]  # as fine as a picture can show


def _plain(value: Any) -> Any:
    """What JSON can hold in a browser: numbers that are none become null."""
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
