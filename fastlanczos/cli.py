"""The command `fastlanczos`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status (130 after Ctrl-C, 1 after an error that is told in one line)."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        return _run(options)
    except KeyboardInterrupt:
        print("\ninterrupted: no file was left half written", file=sys.stderr)
        return 130
    except (ImportError, OSError, ValueError) as error:
        print(f"fastlanczos: {error}", file=sys.stderr)
        return 1


def _run(options: argparse.Namespace) -> int:
    if options.command == "info":
        from fastlanczos.system.config import show_config

        show_config()
        return 0
    if options.command == "study":
        if options.what != "images":
            return _experiment(options)
        from fastlanczos.study.run import run

        run(
            options.output or "study",
            short=options.quick,
            folder=options.data,
            max_seeds=options.max_seeds,
            hours=options.hours,
            jobs=options.jobs,
        )
        return 0
    if options.command == "report":
        from fastlanczos.report.figures import write_figures
        from fastlanczos.report.page import write_page

        if options.png:
            for path in write_figures(options.folder, options.output):
                print(path)
        else:
            print(write_page(options.folder, options.output))
        return 0
    from fastlanczos.study import demo

    demo.run(
        options.output,
        paper=options.paper or options.mnist is not None,
        mnist_folder=options.mnist,
        samples=options.samples,
        seed=options.seed,
    )
    return 0


def _experiment(options: argparse.Namespace) -> int:
    from fastlanczos.study import edge, transformer

    output = options.output or f"study-{options.what}"
    given = {"hours": options.hours, "jobs": options.jobs}
    if options.data is not None:
        raise ValueError(f"--data is for the study of images; {options.what} has data of its own")
    if options.what == "edge":
        edge.edge(output, sizes=edge.small() if options.quick else _sizes(edge.Edge(), options), **given)
    else:
        sizes = transformer.small() if options.quick else _sizes(transformer.Transformer(), options)
        transformer.transformer(output, sizes=sizes, **given)
    return 0


def _sizes(sizes: Any, options: argparse.Namespace) -> Any:
    return sizes if options.max_seeds is None else replace(sizes, max_seeds=max(options.max_seeds, sizes.seeds))


def _parser() -> argparse.ArgumentParser:
    from importlib.metadata import version

    from fastlanczos.system.config import get_include

    parser = argparse.ArgumentParser(
        prog="fastlanczos", description="Hessian spectra of neural networks by reorthogonalized Lanczos."
    )
    parser.add_argument("--version", action="version", version=f"fastlanczos {version('fastlanczos')}")
    parser.add_argument(
        "--include", action="version", version=get_include(), help="print the C++ headers' folder and exit"
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")

    demo = commands.add_parser(
        "demo",
        help="train a small network on images of digits and hold its estimated Hessian density against the exact one",
        description="Trains a network on images of digits until it fits, estimates the density of its Hessian by "
        "stochastic Lanczos quadrature, forms the exact Hessian, and compares: a table, density.png, density.json. "
        "Under a minute on two cores.",
    )
    demo.add_argument("--output", default="demo", metavar="DIR", help="folder for the files (default: demo)")
    demo.add_argument(
        "--paper",
        action="store_true",
        help="the paper's 784-20-10 network with 15,910 parameters, on the digits at 28 x 28 (two to four minutes on "
        "two cores, nearly all for the exact answer; 5 GiB of memory)",
    )
    demo.add_argument(
        "--mnist",
        metavar="DIR",
        help="MNIST's idx files instead of the digits (implies --paper; under an hour for all 60,000)",
    )
    demo.add_argument("--samples", type=_positive, metavar="N", help="use the first N samples only")
    demo.add_argument("--seed", type=int, default=5, help="seed of training and probes (default: 5)")

    study = commands.add_parser(
        "study",
        help="train pairs of networks, follow their Hessian spectra, and hold the paper's claims against them",
        description="Trains networks with and without batch norm, residual and plain, follows their Hessian spectra, "
        "and writes a table of findings, figures and report.html. Under 90 minutes on two cores; a study that was "
        "interrupted goes on where it stopped.",
    )
    study.add_argument(
        "what",
        nargs="?",
        choices=("images", "transformer", "edge"),
        default="images",
        help="images: the paper's claims on convolutional networks; transformer: how different the blocks of a "
        "language model's Hessian are, and Adam; edge: sharpness under gradient descent and Adam (default: images)",
    )
    study.add_argument("--output", metavar="DIR", help="folder for the files (default: study, study-transformer, ...)")
    study.add_argument("--quick", action="store_true", help="one seed and few measurements: under 5 minutes")
    study.add_argument(
        "--max-seeds", type=_positive, metavar="N", help="add seeds for claims that are undecided up to N (default: 12)"
    )
    study.add_argument("--hours", type=float, metavar="H", help="begin with no other seed after H hours")
    study.add_argument("--jobs", type=_positive, metavar="N", help="processes that train (default: one a core)")
    study.add_argument(
        "--data", metavar="DIR", help="folder with MNIST's or CIFAR-10's files, instead of scikit-learn's digits"
    )

    report = commands.add_parser(
        "report",
        help="make one page, or pictures, of a study's or a SpectrumTracker's folder",
        description="Writes report.html, which opens from disk without a network; with --png the figures instead.",
    )
    report.add_argument("folder", metavar="DIR", help="the --output of a study, or a tracker's directory")
    report.add_argument("--png", action="store_true", help="write figures with matplotlib instead of a page")
    report.add_argument(
        "--output", metavar="PATH", help="the page's file (default: DIR/report.html), the figures' folder (DIR/figures)"
    )

    commands.add_parser("info", help="print build, processor features, threads, CUDA and versions")
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value
