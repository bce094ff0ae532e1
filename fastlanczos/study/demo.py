"""The paper's validation on real data: the Hessian density of a small network, estimated and exact.

Trains a network with one hidden layer on images of digits, forms its full Hessian, and holds stochastic Lanczos
quadrature against the exact eigenvalues (Ghorbani, Krishnan and Xiao, arXiv 1901.10159, section 2).
"""

from __future__ import annotations

import importlib.util
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy.integrate import trapezoid
from tqdm import tqdm

from fastlanczos.arrays.cpu import Float64
from fastlanczos.density.density import SpectralDensity
from fastlanczos.density.estimate import spectral_density
from fastlanczos.system.files import write_whole

try:
    import torch
except ImportError:
    raise ImportError("the demo needs PyTorch, matplotlib and scikit-learn: pip install 'fastlanczos[demo]'") from None

from fastlanczos.study.images import Data, digits, mnist
from fastlanczos.torch import HessianOperator

__all__ = ["Comparison", "compare", "exact_eigenvalues", "run", "train"]

HIDDEN, CLASSES = 20, 10
FITS = 0.98  # share of the samples that a trained network has right


def train(data: Data, *, seed: int = 5, max_steps: int = 2000, progress: bool = False) -> torch.nn.Module:
    """Train the paper's network on all of `data` until it has 98% of the samples right (full batches, Adam)."""
    images, labels = data
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = torch.nn.Sequential(
            torch.nn.Linear(images.shape[1], HIDDEN),
            torch.nn.ReLU(),
            torch.nn.Linear(HIDDEN, CLASSES),
        ).double()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    with tqdm(total=max_steps, desc="training", unit="step", disable=not progress) as bar:
        for _ in range(max_steps):
            optimizer.zero_grad()
            output = model(images)
            loss = torch.nn.functional.cross_entropy(output, labels)
            right = int((output.argmax(1) == labels).sum())
            bar.set_postfix_str(f"loss {loss.item():.4f}, {right} of {len(labels)} right")
            if right >= FITS * len(labels):
                break
            loss.backward()
            optimizer.step()
            bar.update(1)
    for parameter in model.parameters():
        parameter.grad = None
    return model


def exact_eigenvalues(H: HessianOperator, *, progress: bool = False, block: int = 256) -> Float64:
    """Return all eigenvalues of H, ascending, from its full matrix: n products and a dense solve."""
    n = H.shape[0]
    matrix = np.empty((n, n))
    with tqdm(total=n, desc="exact Hessian", unit="column", disable=not progress) as bar:
        for first in range(0, n, block):
            width = min(block, n - first)
            columns = np.zeros((n, width))
            columns[np.arange(first, first + width), np.arange(width)] = 1.0
            matrix[:, first : first + width] = H @ columns
            bar.update(width)
    if progress:
        print(f"eigenvalues of the full {n} x {n} matrix ...", flush=True)
    matrix += matrix.T
    matrix *= 0.5
    # torch's own LAPACK is several times faster than the one in NumPy's wheels on some machines, never slower.
    eigenvalues: Float64 = torch.linalg.eigvalsh(torch.from_numpy(matrix)).numpy()
    return eigenvalues


@dataclass(frozen=True)
class Comparison:
    """Exact against estimated, in one row each; errors of eigenvalues are relative to the norm of H."""

    dim: int
    samples: int
    num_probes: int
    num_steps: int
    sigma: float
    norm: float
    exact_top: list[float]
    estimated_top: list[float]
    exact_bottom: list[float]
    estimated_bottom: list[float]
    exact_mean: float
    estimated_mean: float
    estimated_mean_std_error: float
    exact_negative_share: float
    estimated_negative_share: float
    top_error: float
    bottom_error: float
    cdf_gap: float
    l1_distance: float
    asymmetry: float

    def table(self) -> str:
        """Return the comparison as text."""
        rows = [(f"eigenvalue {i + 1} from the top", e, a) for i, (e, a) in enumerate(self._pairs("top"))]
        rows += [(f"eigenvalue {i + 1} from the bottom", e, a) for i, (e, a) in enumerate(self._pairs("bottom"))]
        rows.append(("trace", self.exact_mean * self.dim, self.estimated_mean * self.dim))
        rows.append(("negative share of sum |eigenvalue|", self.exact_negative_share, self.estimated_negative_share))
        lines = [f"{'':36} {'exact':>16} {'estimated':>16} {'difference':>11}"]
        lines += [f"{name:36} {e:16.9g} {a:16.9g} {abs(e - a):11.1e}" for name, e, a in rows]
        lines += [
            f"{'standard error of the trace':36} {self.estimated_mean_std_error * self.dim:33.2g}",
            f"{'largest gap of the blurred cdfs':36} {self.cdf_gap:45.2e}",
            f"{'L1 distance of the blurred densities':36} {self.l1_distance:45.2e}",
            f"({self.dim:,} parameters, {self.samples:,} samples, {self.num_probes} probes of {self.num_steps} steps, "
            f"bandwidth {self.sigma:.3g}; eigenvalues from the first probe)",
        ]
        return "\n".join(lines)

    def _pairs(self, end: str) -> list[tuple[float, float]]:
        return list(zip(getattr(self, f"exact_{end}"), getattr(self, f"estimated_{end}"), strict=True))


def compare(exact: SpectralDensity, estimate: SpectralDensity, samples: int) -> Comparison:
    """Hold an estimate against the exact density, blurred alike with the exact one's bandwidth."""
    eigenvalues, nodes = exact.nodes[0], estimate.nodes[0]
    norm = float(np.abs(eigenvalues).max())
    top, bottom = eigenvalues[::-1][:10], eigenvalues[:3]
    nodes_top, nodes_bottom = nodes[::-1][:10], nodes[:3]
    sigma = exact.sigma
    # Fine enough for the peaks: eight points a bandwidth.
    low, high = exact.extremes
    t = exact.grid(max(10_000, int(8 * (high - low) / sigma)), sigma)
    means = np.sum(estimate.weights * estimate.nodes, axis=1)
    difference = np.abs(exact(t, sigma) - estimate(t, sigma))
    return Comparison(
        dim=exact.dim,
        samples=samples,
        num_probes=estimate.num_probes,
        num_steps=estimate.nodes.shape[1],
        sigma=sigma,
        norm=norm,
        exact_top=top.tolist(),
        estimated_top=nodes_top.tolist(),
        exact_bottom=bottom.tolist(),
        estimated_bottom=nodes_bottom.tolist(),
        exact_mean=exact.mean,
        estimated_mean=estimate.mean,
        estimated_mean_std_error=float(means.std(ddof=1) / np.sqrt(len(means))),
        exact_negative_share=exact.negative_share,
        estimated_negative_share=estimate.negative_share,
        top_error=float(np.abs(top - nodes_top).max() / norm),
        bottom_error=float(np.abs(bottom - nodes_bottom).max() / norm),
        cdf_gap=float(np.abs(exact.cdf(t, sigma) - estimate.cdf(t, sigma)).max()),
        l1_distance=float(trapezoid(difference, t)),
        asymmetry=float(estimate.info["asymmetry"]),
    )


def draw(exact: SpectralDensity, estimate: SpectralDensity, comparison: Comparison, path: Path) -> None:
    """Write the paper's figure: both densities on a log scale, with the estimate's error band."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), layout="constrained")
    ax = figure.subplots()
    exact.plot(ax, color="black", linewidth=2.5, label=f"exact: all {exact.dim:,} eigenvalues")
    estimate.plot(
        ax,
        sigma=comparison.sigma,
        color="tab:orange",
        linewidth=1.2,
        label=f"estimate: {comparison.num_probes} probes of {comparison.num_steps} steps, 95% band",
    )
    ax.set_title(
        f"Hessian of a network with {exact.dim:,} parameters on {comparison.samples:,} images\n"
        f"largest gap of the cumulative distributions: {comparison.cdf_gap:.1e}"
    )
    ax.set_xlabel("eigenvalue of the Hessian")
    ax.set_ylabel(f"density, blurred by {comparison.sigma:.2g}")
    ax.legend(loc="upper right", frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
    with write_whole(path) as file:
        figure.savefig(file, format="png", dpi=150)


def run(
    output: str | Path,
    *,
    paper: bool = False,
    mnist_folder: str | Path | None = None,
    samples: int | None = None,
    num_probes: int = 10,
    num_steps: int = 90,
    seed: int = 5,
    progress: bool = True,
) -> Comparison:
    """Run the demo; write `density.png`, `density.json` and `density.npz` into the folder `output`.

    Parameters
    ----------
    output : path
        Folder for the files, made where it is missing.
    paper : bool
        The paper's own 784-20-10 network (15,910 parameters) instead of the 64-20-10 one (1,510).
    mnist_folder : path, optional
        Folder with MNIST's idx files, for `paper`; by default the digits, upscaled to 28 x 28.
    samples : int, optional
        Use the first samples only.
    num_probes, num_steps, seed
        As in `spectral_density`; the seed also starts the training.
    progress : bool
        Show progress bars and the table.

    Returns
    -------
    Comparison
    """
    if importlib.util.find_spec("matplotlib") is None:  # told now, not after minutes of work
        raise ImportError("the demo draws with matplotlib: pip install 'fastlanczos[plot]'")
    started = time.perf_counter()
    folder = Path(output)
    images, labels = mnist(mnist_folder, samples) if mnist_folder is not None else digits(28 if paper else 8)
    data = images[:samples].contiguous(), labels[:samples].contiguous()
    model = train(data, seed=seed, progress=progress)
    H = HessianOperator(model, torch.nn.functional.cross_entropy, data)
    times = {"training": time.perf_counter() - started}

    began = time.perf_counter()
    estimate = spectral_density(H, num_probes=num_probes, num_steps=num_steps, seed=seed, progress=progress)
    times["estimate"] = time.perf_counter() - began

    began = time.perf_counter()
    exact = SpectralDensity.from_eigenvalues(exact_eigenvalues(H, progress=progress))
    times["exact"] = time.perf_counter() - began

    comparison = compare(exact, estimate, len(labels))
    draw(exact, estimate, comparison, folder / "density.png")
    estimate.save(folder / "density.npz")
    t = exact.grid(2000, comparison.sigma)
    times["total"] = time.perf_counter() - started
    record = {
        **asdict(comparison),
        "seed": seed,
        "seconds": {name: round(value, 2) for name, value in times.items()},
        "grid": t.tolist(),
        "exact_density": exact(t, comparison.sigma).tolist(),
        "estimated_density": estimate(t, comparison.sigma).tolist(),
    }
    with write_whole(folder / "density.json", "w") as file:
        json.dump(record, file, indent=1, allow_nan=False)
    if progress:
        print(f"\n{comparison.table()}\n")
        print(
            f"{times['total']:.1f} s: training {times['training']:.1f}, estimate {times['estimate']:.1f}, exact "
            f"{times['exact']:.1f}.  Written: {folder / 'density.png'}, density.json, density.npz"
        )
    return comparison
