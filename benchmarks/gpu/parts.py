"""The measurements of gpu_check.py, each by its name: `python parts.py PART FILE [--dry-run]` writes its JSON.

Every part compares with its peers in the same process. Times are medians of the GPU's own clock.
"""

import argparse
import itertools
import json
import os
import statistics
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from side import EmulatedSide, TorchSide

sys.path.append(str(Path(__file__).parent.parent))
from peers import cgs2, cgs2_torch
from spectra import spectra

import fastlanczos as fl

STORAGE = {"float64": {}, "float32": {"basis_dtype": "float32"}, "none": {"reorthogonalize": "none"}}


@contextmanager
def tiles(stages):
    """Make runs that are made meanwhile hold so many tiles in shared memory: 2 is the scheme before the ring."""
    before = os.environ.get("FASTLANCZOS_CUDA_STAGES")
    os.environ["FASTLANCZOS_CUDA_STAGES"] = str(stages)
    try:
        yield
    finally:
        del os.environ["FASTLANCZOS_CUDA_STAGES"]
        if before is not None:
            os.environ["FASTLANCZOS_CUDA_STAGES"] = before


def smoke(side):
    """Every kernel against the CPU engine, in seconds: the first entry that differs, where one does."""
    n, steps = (5003, 40) if side.large else (203, 10)
    d = np.random.default_rng(0).normal(size=n)
    v0, on_gpu = np.random.default_rng(1).normal(size=n), side.array(d)
    rows = []

    def compare(what, got, expected, scale=1.0, tolerance=1e-10):
        got, expected = np.asarray(got, float).ravel(), np.asarray(expected, float).ravel()
        row = {"what": what, "entries": len(expected), "differs": ""}
        if len(got) != len(expected):
            row["differs"] = f"{len(got)} entries instead of {len(expected)}"
        elif not (np.abs(got - expected) <= tolerance * scale).all():  # NaN differs as well
            first = int(np.flatnonzero(~(np.abs(got - expected) <= tolerance * scale))[0])
            row["differs"] = f"first at {first}: {got[first]!r} instead of {expected[first]!r}"
        rows.append(row)

    norm = np.abs(d).max()
    for (storage, options), stages in itertools.product(STORAGE.items(), (2, 6)):
        with tiles(stages):
            r = fl.lanczos(lambda v: on_gpu * v, n, steps, v0=side.array(v0), **options)
        expected = fl.lanczos(lambda v: d * v, n, steps, v0=v0, **options)
        tolerance = 1e-6 if storage == "float32" else 1e-10
        what = f"step, {storage}, {stages} tiles"
        compare(f"{what}: alpha", r.alpha, expected.alpha, norm, tolerance)
        compare(f"{what}: beta", r.beta, expected.beta, norm, tolerance)
        if r.basis is not None:
            V = side.host(r.basis).astype(float)
            compare(f"{what}: V V'", V @ V.T, np.eye(len(V)), 1.0, tolerance)
    few = side.array(np.repeat([1.0, 2.0, 5.0], [60, 60, n - 120]))
    r = fl.lanczos(lambda v: few * v, n, steps, v0=side.array(v0))
    compare("breakdown: eigenvalues", r.quadrature()[0], [1.0, 2.0, 5.0], 5.0)
    A = np.random.default_rng(2).normal(size=(60, 60))
    A = A + A.T
    ours, theirs = (fl.spectral_density(x, num_probes=3, num_steps=8, seed=0) for x in (side.array(A), A))
    compare("steps of several probes: nodes", ours.nodes, theirs.nodes, np.abs(theirs.nodes).max())
    rng = np.random.default_rng(3)
    alpha, beta = rng.normal(size=(50, 9)), rng.normal(size=(50, 8))
    ours, theirs = fl.quadrature(side.array(alpha), side.array(beta)), fl.quadrature(alpha, beta)
    compare("quadrature: nodes", side.host(ours[0]), theirs[0], np.abs(theirs[0]).max())
    compare("quadrature: weights", np.cumsum(side.host(ours[1]), 1), np.cumsum(theirs[1], 1))
    # Restarts, filters, new candidates, copies: values that each come twice, of both signs.
    d = np.repeat(np.linspace(-1, 1, 100), 2)
    there = side.array(d)
    w, V = fl.eigsh(lambda v: there * v, 6, which="BE", v0=side.array(v0[:200]), dim=200, ncv=26)
    compare("eigsh: values", side.host(w), np.sort(d)[[0, 1, 2, -3, -2, -1]])
    V = side.host(V)
    compare("eigsh: residuals", np.linalg.norm(d[:, None] * V - V * side.host(w), axis=0), np.zeros(6))
    compare("eigsh: V'V", V.T @ V, np.eye(6))
    wrong = [row["what"] for row in rows if row["differs"]]
    return {"ok": not wrong, "rows": rows} | (
        {"why": "differs from the CPU engine: " + ", ".join(wrong)} if wrong else {}
    )


def profiled(side):
    """One run of 66 steps at n = 1e7, for ncu to look at."""
    d, v0 = side.normal(10**7), side.normal(10**7)
    for storage in ("float64", "float32"):
        fl.lanczos(lambda v: d * v, 10**7, 66, v0=v0, return_basis=False, **STORAGE[storage])
    return {}


def accuracy(side):
    """Runs on the GPU against the CPU engine: eigenvalues of T relative to the norm, orthogonality, sweeps."""
    n, steps = (3000, (60, 400)) if side.large else (190, (24,))
    rows = []
    for name, d in spectra(n).items():
        v0, on_gpu = np.random.default_rng(1).normal(size=n), side.array(d)
        for m in steps:
            for storage, options in STORAGE.items():
                r = fl.lanczos(lambda v, x=on_gpu: x * v, n, m, v0=side.array(v0), **options)
                expected = fl.lanczos(lambda v, d=d: d * v, n, m, v0=v0, **options)
                row = {"spectrum": name, "m": m, "storage": storage, "steps": r.num_steps}
                row["steps on the CPU"] = expected.num_steps
                row["asymmetry"] = r.asymmetry
                if r.num_steps == expected.num_steps and storage != "none":  # whose copies come at different steps
                    row["T's eigenvalues"] = apart((r.alpha, r.beta), (expected.alpha, expected.beta))
                    if storage == "float64" and not r.breakdown and name not in ("huge", "tiny"):
                        # Some Ritz values hang on the last bit of everything: then CGS2 differs as much.
                        row["CGS2's"] = apart(cgs2(lambda v, d=d: d * v, v0, m)[:2], (expected.alpha, expected.beta))
                if r.basis is not None:
                    V = side.host(r.basis).astype(np.float64)
                    row["|V V' - I|"] = float(np.abs(V @ V.T - np.eye(len(V))).max())
                rows.append(row)
    return {"rows": rows}


def apart(rule, other):
    """Return how far the eigenvalues of two tridiagonals (alpha, beta) are apart, relative to the norm."""
    ours, theirs = (fl.quadrature(*x)[0] for x in (rule, other))
    norm = max(np.abs(theirs).max(), np.finfo(float).tiny)
    return float(np.abs(ours / norm - theirs / norm).max())


def step(side):
    """Time of a step at several k: GB/s of reading V, share of the copy bandwidth, and torch's CGS2 beside it."""
    bandwidth = side.copy_bandwidth(2**28 if side.large else 2**16)
    cases = [(10**6, (16, 64, 128)), (10**7, (16, 64, 128)), (10**8, (32, 64))] if side.large else [(2003, (4, 12))]
    rows = []
    for n, ks in cases:
        d, v0 = side.normal(n), side.normal(n)
        schemes = [("float64", 6), ("float64", 2), ("float32", 6), ("float32", 2), ("none", 6), ("none", 2)]
        for storage, stages in schemes if n < 10**8 else schemes[:2]:
            with tiles(stages):
                it = fl.LanczosIteration(n, max(ks) + 5, v0=v0, **STORAGE[storage])
            times = {}
            while not it.finished:
                z, k = d * it.vector, it._run.launched
                (seconds,) = side.seconds([lambda it=it, z=z: it.step(z)])
                for near in ks:
                    if abs(k - near) <= 3:
                        times.setdefault(near, []).append(seconds)
            del it, z
            peer = cgs2_seconds(side, d, v0, ks) if (storage, stages) == ("float64", 6) else {}
            for k in ks:
                seconds = statistics.median(times[k])
                itemsize = {"float64": 8, "float32": 4, "none": 0}[storage]
                moved = n * (k * itemsize + itemsize + 8 * 8)  # a row is written; u, z and the vector besides
                rows.append(
                    {
                        "n": n,
                        "k": k,
                        "storage": storage,
                        "tiles": stages,
                        "us": 1e6 * seconds,
                        "V GB/s": n * k * itemsize / seconds / 1e9,
                        "V of copy": n * k * itemsize / seconds / bandwidth,
                        "all of copy": moved / seconds / bandwidth,
                        "torch CGS2 us": 1e6 * peer[k] if k in peer else None,
                        "x torch CGS2": peer[k] / seconds if k in peer else None,
                    }
                )
        del d, v0
    return {"copy GB/s": bandwidth / 1e9, "rows": rows}


def cgs2_seconds(side, d, v0, ks):
    """Return seconds of the orthogonalization in step k of CGS2 in torch."""
    if not side.large:
        return {}
    torch = side.torch
    V = torch.empty((max(ks) + 1, v0.numel()), dtype=torch.float64, device="cuda")
    V.normal_()
    found = {}
    for k in ks:
        w = d.clone()

        def one(k=k, w=w):
            alpha = torch.dot(V[k], w)
            for _ in range(2):
                w -= torch.mv(V[: k + 1], w) @ V[: k + 1]
            torch.div(w, torch.linalg.vector_norm(w), out=V[k])
            return alpha

        one()
        found[k] = statistics.median(side.seconds([one] * 7))
    return found


def whole(side):
    """Whole runs against torch's CGS2 with the same products."""
    if not side.large:
        d, v0 = side.normal(501), side.normal(501)
        return {
            "rows": [{"n": 501, "m": 8, "s": side.seconds([lambda: fl.lanczos(lambda v: d * v, 501, 8, v0=v0)])[0]}]
        }
    rows = []
    for n, m in ((10**6, 100), (10**7, 100)):
        d, v0 = side.normal(n), side.normal(n)
        calls = {
            "ours": lambda n=n, m=m, d=d, v0=v0: fl.lanczos(lambda v: d * v, n, m, v0=v0, return_basis=False),
            "theirs": lambda m=m, d=d, v0=v0: cgs2_torch(lambda v: d * v, v0, m),
        }
        times = {name: [] for name in calls}
        for _ in range(4):
            for name, call in calls.items():
                times[name] += side.seconds([call])
        ours, theirs = (statistics.median(times[name][1:]) for name in calls)
        rows.append({"n": n, "m": m, "s": ours, "torch CGS2 s": theirs, "x torch CGS2": theirs / ours})
    return {"rows": rows}


def eigsh(side):
    """Ten largest eigenvalues by fl.eigsh on the GPU: time, waits, error; and by CuPy's where it is installed."""
    sizes = (10**5, 10**6, 10**7) if side.large else (403,)
    rows = []
    for n in sizes:
        values = np.random.default_rng(0).normal(0, 1e-2, n)
        values[:20] = np.linspace(1, 100, 20)
        exact = np.sort(values)[-10:]
        d, v0 = side.array(values), side.array(np.random.default_rng(1).normal(size=n))
        found = []

        def ours(d=d, v0=v0, n=n, found=found):
            found.append(fl.eigsh(lambda v: d * v, 10, which="LA", v0=v0, dim=n, ncv=40, return_info=True))

        ours()
        seconds = statistics.median(side.seconds([ours] * (3 if side.large else 1)))
        w, V, info = found[-1]
        row = {"n": n, "products": info.num_matvecs, "restarts": info.num_restarts, "s": seconds}
        row["error"] = float(np.abs(side.host(w) - exact).max() / 100)
        row["V'V"] = float(np.abs(side.host(V.T @ V) - np.eye(10)).max())
        rows.append(row | cupys_eigsh(side, values, exact, seconds))
        del found[:], w, V
    return {"ok": all(row["error"] < 1e-13 and row["V'V"] < 1e-12 for row in rows), "rows": rows}


def cupys_eigsh(side, values, exact, our_seconds):
    """Return what CuPy's eigsh does with the same operator; nothing where there is no CuPy."""
    try:
        import cupy
        from cupyx.scipy.sparse.linalg import LinearOperator
        from cupyx.scipy.sparse.linalg import eigsh as cupys
    except ImportError:
        return {}
    if not side.large:
        return {}
    d, n, count = cupy.asarray(values), len(values), 0

    def matvec(v):
        nonlocal count
        count += 1
        return d * v.ravel()

    operator = LinearOperator((n, n), matvec=matvec, dtype=cupy.float64)
    v0 = cupy.asarray(np.random.default_rng(1).normal(size=n))
    times = []
    for _ in range(3):
        count = 0
        begin, end = cupy.cuda.Event(), cupy.cuda.Event()
        begin.record()
        w, _ = cupys(operator, k=10, which="LA", v0=v0, ncv=40)
        end.record()
        end.synchronize()
        times.append(cupy.cuda.get_elapsed_time(begin, end) / 1e3)
    seconds = statistics.median(times)
    return {
        "CuPy's products": count,
        "CuPy's s": seconds,
        "x CuPy": seconds / our_seconds,
        "CuPy's error": float(np.abs(np.sort(cupy.asnumpy(w)) - exact).max() / 100),
    }


def synchronisations(side):
    """Times that the host waits for the device within steps, counted by the profiler."""
    n, m = (10**6, 60) if side.large else (301, 10)
    d, v0 = side.normal(n), side.normal(n)
    it = fl.LanczosIteration(n, m, v0=v0)
    it.step(d * it.vector)
    if not side.large:
        before = side.gpu.synchronizations
        for _ in range(m - 2):
            it.step(d * it.vector)
        return {"steps": m - 2, "waits": side.gpu.synchronizations - before}
    torch = side.torch
    torch.cuda.synchronize()
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    ) as p:
        for _ in range(m - 2):
            it.step(d * it.vector)
    calls = {event.key: event.count for event in p.key_averages() if event.key.startswith("cuda")}
    waits = {key: count for key, count in calls.items() if "Synchronize" in key or key in ("cudaMemcpy", "cudaFree")}
    # The profiler itself waits once, at its end.
    return {"steps": m - 2, "waits": sum(waits.values()), "calls": calls}


def quadrature(side):
    """Thousands of tridiagonals at once, against the CPU engine."""
    rows = []
    for count, m in ((1000, 100), (10_000, 90), (100_000, 30)) if side.large else ((40, 12),):
        rng = np.random.default_rng(0)
        alpha, beta = rng.normal(size=(count, m)), rng.normal(size=(count, m - 1))
        a, b = side.array(alpha), side.array(beta)
        nodes, _ = (side.host(x) for x in fl.quadrature(a, b))
        seconds = statistics.median(side.seconds([lambda a=a, b=b: fl.quadrature(a, b)] * 5))
        times = EmulatedSide.seconds(None, [lambda x=alpha, y=beta: fl.quadrature(x, y)] * 3)
        expected = fl.quadrature(alpha, beta)[0]
        norms = np.abs(expected).max(axis=1, keepdims=True)
        rows.append(
            {
                "matrices": count,
                "m": m,
                "ms": 1e3 * seconds,
                "CPU engine ms": 1e3 * statistics.median(times),
                "nodes": float((np.abs(nodes - expected) / norms).max()),
            }
        )
    return {"rows": rows}


def network(side):
    """Hessians of a ResNet-18 and a GPT-2: a product in gradients, a density, its memory, and plain torch beside it."""
    if not side.large:
        A = np.random.default_rng(0).normal(size=(60, 60))
        d = fl.spectral_density(side.array(A + A.T), num_probes=3, num_steps=10, seed=0)
        return {"rows": [{"network": "a matrix", "probes": 3, "steps": 10, "top": float(d.extremes[1])}]}
    from networks import language_model, resnet18

    rows = []
    for name, make in (
        ("ResNet-18, 512 images", lambda: resnet18(False, samples=512)),
        ("GPT-2, 124 million, 4 x 256 tokens", lambda: language_model(False)),
    ):
        side.torch.manual_seed(0)
        rows.append({"network": name, **_network_row(side, *make())})
        side.torch.cuda.empty_cache()
    return {"rows": rows}


def _network_row(side, model, data):
    from torch.nn.attention import SDPBackend, sdpa_kernel

    import fastlanczos.torch as flt

    torch = side.torch
    model = model.cuda()
    batch = {key: t.cuda() for key, t in data[0].items()}
    parameters = list(model.parameters())
    H = flt.HessianOperator(model, None, [batch])
    v = torch.randn(H.shape[0], device="cuda")
    product = torch.empty(H.shape[0], dtype=torch.float64, device="cuda")

    def gradient():
        torch.autograd.grad(model(**batch)["loss"], parameters)

    def multiply():
        H.multiply_into([v], [product])

    row = {"parameters": H.shape[0]}
    times = {}
    for what, one in (("gradient", gradient), ("product", multiply)):
        one()
        times[what] = statistics.median(side.seconds([one] * 7))
    planned = H.memory(30).total
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    H.release()
    densities = []
    (seconds,) = side.seconds([lambda: densities.append(fl.spectral_density(H, num_probes=4, num_steps=30, seed=0))])
    peak = torch.cuda.max_memory_allocated() - before
    H.release()
    with sdpa_kernel(SDPBackend.MATH):
        loss = model(**batch)["loss"]
        gradients = torch.autograd.grad(loss, parameters, create_graph=True)
        vectors = [torch.randn_like(p) for p in parameters]
        plain = lambda: torch.autograd.grad(gradients, parameters, vectors, retain_graph=True)  # noqa: E731
        plain()
        times["plain product"] = statistics.median(side.seconds([plain] * 7))
    return row | {
        "gradient ms": 1e3 * times["gradient"],
        "product, in gradients": times["product"] / times["gradient"],
        "plain product, in gradients": times["plain product"] / times["gradient"],
        "density of 4 x 30 s": seconds,
        "of which products": 120 * times["product"] / seconds,
        "peak GB": peak / 1e9,
        "planned GB": planned / 1e9,
        "top": float(densities[0].extremes[1]),
        "basis": densities[0].info["basis_dtype"],
    }


def short(side):
    """A short run of everything that launches a kernel, for compute-sanitizer."""
    n = 5003 if side.large else 203
    d, v0 = side.normal(n), side.normal(n)
    for options in STORAGE.values():
        r = fl.lanczos(lambda v: d * v, n, 40 if side.large else 10, v0=v0, **options)
    A = side.array(np.diag(np.linspace(0, 1, 60)))
    fl.spectral_density(A, num_probes=3, num_steps=8, seed=0)
    fl.quadrature(side.array(np.ones((100, 7))), side.array(np.ones((100, 6))))
    with tiles(2):
        fl.lanczos(lambda v: d * v, n, 40 if side.large else 10, v0=v0)
    few = side.array(np.repeat(np.linspace(-1, 1, 150), 2))
    fl.eigsh(lambda v: few * v, 4, which="BE", v0=side.normal(300), dim=300, ncv=20)
    return {"steps": r.num_steps}


ALL = (smoke, step, network, eigsh, whole, synchronisations, accuracy, quadrature, profiled, short)
PARTS = {part.__name__: part for part in ALL}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("file", type=Path)
    parser.add_argument("--dry-run", action="store_true", help="on the emulated GPU")
    options = parser.parse_args()
    side = EmulatedSide(options.file.parent) if options.dry_run else TorchSide()
    options.file.write_text(json.dumps(PARTS[options.part](side) | {"device": side.name}))


if __name__ == "__main__":
    main()
