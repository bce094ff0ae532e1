"""The whole study: `run` trains, follows and experiments with all networks, and can be stopped and started again."""

from __future__ import annotations

import importlib.util
import json
import time
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from fastlanczos.report.figures import write_figures
from fastlanczos.report.page import write_page
from fastlanczos.report.results import Results
from fastlanczos.study.findings import Finding, findings
from fastlanczos.study.images import Data, cifar10, digits, mnist
from fastlanczos.study.settings import Settings, full, quick
from fastlanczos.study.training import Run
from fastlanczos.study.validation import validate
from fastlanczos.system.files import write_whole

__all__ = ["load_images", "run"]


def load_images(folder: str | Path | None = None) -> tuple[str, Data]:
    """Return (name, (images (N, channels, height, width) float32 of mean 0 and variance 1, labels)).

    `folder` holds the files of MNIST or CIFAR-10; None takes scikit-learn's digits at 28 x 28.
    """
    if folder is None:
        name, (pixels, labels), shape = "digits", digits(28), (1, 28, 28)
    elif not Path(folder).is_dir():
        raise FileNotFoundError(f"--data {folder}: there is no such folder")
    elif any(Path(folder).glob("train-images-idx3-ubyte*")):
        name, (pixels, labels), shape = "MNIST", mnist(folder), (1, 28, 28)
    elif any(Path(folder).glob("data_batch_1*")):
        name, (pixels, labels), shape = "CIFAR-10", cifar10(folder), (3, 32, 32)
    else:
        raise FileNotFoundError(
            f"{folder} has neither MNIST's files (train-images-idx3-ubyte) nor CIFAR-10's (data_batch_1.bin, "
            "data_batch_1)"
        )
    images = ((pixels - pixels.mean()) / pixels.std()).float().view(-1, *shape)
    return name, (images, labels)


def run(
    output: str | Path,
    *,
    short: bool = False,
    folder: str | Path | None = None,
    settings: Settings | None = None,
    progress: bool = True,
) -> list[Finding]:
    """Run the study into the folder `output`, or continue one that was begun there.

    Parameters
    ----------
    output : path
        Folder of all files: records, figures, `report.html`, `findings.json`.
    short : bool
        One seed and few measurements.
    folder : path, optional
        MNIST's or CIFAR-10's files.
    settings : Settings, optional
        Other sizes.
    progress : bool
        Show what runs and how long is left.

    Returns
    -------
    list of Finding
        The paper's claims with measured numbers and verdicts.

    Raises
    ------
    ValueError
        If `output` holds a study with other settings.
    """
    for module in ("matplotlib", "plotly"):  # told now, not after an hour
        if importlib.util.find_spec(module) is None:
            raise ImportError(f"the study draws with {module}: pip install 'fastlanczos[study]'")
    chosen = settings or (quick() if short else full())
    place = Path(output)
    name, data = load_images(folder)
    _settle(place, {**chosen.values(), "data": name, "images": len(data[1]), "classes": int(data[1].max()) + 1})
    runs = [Run(chosen, data, network, seed, place / "runs") for seed in chosen.seeds for network in chosen.networks]
    checked = place / "validation.json"
    total = sum(one.missing() for one in runs) + (not checked.exists())
    started = time.perf_counter()
    with tqdm(total=total, unit="part", desc="study", disable=not progress, smoothing=0.1) as bar:

        def done(what: str) -> None:
            bar.update()
            bar.set_postfix_str(what)

        if not checked.exists():
            bar.set_postfix_str("exact density against its estimate")
            _write(checked, validate(digits(8)))
            done("exact density against its estimate")
        for one in runs:
            one.perform(done)
    results = Results.read(place)
    found = findings(results)
    _write(place / "findings.json", {"findings": [_row(one) for one in found], "torch": torch.__version__})
    pictures = write_figures(place)
    page = write_page(place)
    if progress:
        for finding in found:
            print(f"{finding.verdict:22} {finding.claim}\n{'':22}   {finding.statistic}: {finding.text()}")
        print(f"\n{time.perf_counter() - started:.0f} s.  Written: {page}, {len(pictures)} figures, findings.json")
    return found


def _row(one: Finding) -> dict[str, Any]:
    low, high = one.interval if one.values else (float("nan"), float("nan"))
    return {
        "claim": one.claim,
        "statistic": one.statistic,
        "values": one.values,
        "mean": one.mean if one.values else None,
        "interval": None if low != low else [low, high],
        "verdict": one.verdict,
    }


def _settle(place: Path, settings: dict[str, Any]) -> None:
    path = place / "settings.json"
    if not path.exists():
        _write(path, settings)
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    other = [name for name, value in settings.items() if before.get(name) != value]
    if other:
        text = ", ".join(f"{name} was {before.get(name)} and is {settings[name]}" for name in other)
        raise ValueError(f"{place} holds another study ({text}): give another --output, or the same options to go on")


def _write(path: Path, values: dict[str, Any]) -> None:
    with write_whole(path, "w") as file:
        json.dump(values, file)
