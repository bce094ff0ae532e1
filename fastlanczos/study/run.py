"""The whole study: `run` trains, follows and experiments with all networks, and can be stopped and started again."""

from __future__ import annotations

import importlib.util
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from fastlanczos.arguments import as_dimension
from fastlanczos.report.figures import write_figures
from fastlanczos.report.page import write_page
from fastlanczos.report.results import Results
from fastlanczos.study.findings import Finding, findings, tell, write_findings
from fastlanczos.study.images import Data, cifar10, digits, mnist
from fastlanczos.study.ladder import climb
from fastlanczos.study.rounds import Limits, until_decided
from fastlanczos.study.settings import Settings, full, quick, settle
from fastlanczos.study.training import Run
from fastlanczos.study.validation import validate
from fastlanczos.study.workers import Workers
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
    max_seeds: int | None = None,
    hours: float | None = None,
    jobs: int | None = None,
    progress: bool = True,
) -> list[Finding]:
    """Run the study into the folder `output`, or continue one that was begun there.

    Seeds are added until every claim is decided, or a limit is reached; those of networks that only decided claims
    speak of are not trained again.

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
    max_seeds : int, optional
        Where to stop adding seeds for claims that stay undecided, by default 12. A verdict depends on it: the more
        looks there may be, the stricter each is.
    hours : float, optional
        Where to stop beginning with another seed.
    jobs : int, optional
        Processes that train at the same time, by default one a core.
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
    if max_seeds is not None:
        chosen = replace(chosen, max_seeds=max(as_dimension(max_seeds, "max_seeds"), chosen.seeds))
    place = Path(output)
    name, data = load_images(folder)
    settle(place, {**chosen.values(), "data": name, "images": len(data[1]), "classes": int(data[1].max()) + 1})
    started = time.perf_counter()
    with tqdm(unit="part", desc="study", disable=not progress, smoothing=0.1) as bar:
        checked = place / "validation.json"
        if not checked.exists():
            bar.set_postfix_str("exact density against its estimate")
            _write(checked, validate(digits(8)))
        with Workers(jobs) as workers:
            found = until_decided(
                chosen.networks,
                lambda network, seed: Run(chosen, data, network, seed, place / "runs"),
                lambda: findings(Results.read(place)),
                Limits(chosen.seeds, chosen.max_seeds, hours),
                workers,
                bar,
            )
            facts = {"data": name, "images": len(data[1]), "classes": int(data[1].max()) + 1}
            sizes = climb(place / "ladder", chosen, data, facts, workers, hours, bar)
    hours_taken = (time.perf_counter() - started) / 3600
    write_findings(place, found, hours_taken, sizes)
    pictures = write_figures(place)
    page = write_page(place)
    if progress:
        tell(found)
        print(f"\n{60 * hours_taken:.1f} minutes.  Written: {page}, {len(pictures)} figures, findings.json")
    return found


def _write(path: Path, values: dict[str, Any]) -> None:
    with write_whole(path, "w") as file:
        json.dump(values, file)
