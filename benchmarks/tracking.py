"""Claim: training has the same bits with its spectrum tracked, and a measurement costs what its products cost.

The study's residual network with batch norm on the digits: the time of an epoch, of a measurement on all samples and on
a part of them, and the memory that a measurement takes besides, as the rise of the process's largest size. Some 230
products of two gradients each are hundreds of epochs on a small data set; `samples=` is what brings them down. Then the
products that the top eigenpairs take through training, cold and with warm=True.
"""

import resource
import statistics
import tempfile
import time
import unittest.mock

import torch
from report import parse, table, write

import fastlanczos.torch as flt
from fastlanczos.curvature import concentration
from fastlanczos.study.networks import ImageNetwork
from fastlanczos.study.run import load_images

F = torch.nn.functional


def training(model, data, optimizer, batch, epochs, tracker=None):
    """Train; return the seconds of each epoch, without what the tracker takes."""
    images, labels = data
    times = []
    for _ in range(epochs):
        start = time.perf_counter()
        spent = 0.0
        for part in torch.randperm(len(images)).split(batch):
            optimizer.zero_grad()
            F.cross_entropy(model(images[part]), labels[part]).backward()
            optimizer.step()
            if tracker is not None:
                began = time.perf_counter()
                tracker.step()
                spent += time.perf_counter() - began
        times.append(time.perf_counter() - start - spent)
    return times


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def one_run(data, epochs, batch, tracked, **options):
    """Train from the same start, tracked or not; return parameters, seconds an epoch, seconds a measurement, bytes."""
    torch.manual_seed(0)
    model = ImageNetwork(data[0].shape[1], 10, batch_norm=True, residual=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    tracker, seconds, before = None, [], peak()
    if tracked:
        batches = list(zip(*(part.split(batch) for part in data), strict=True))
        H = flt.HessianOperator(model, F.cross_entropy, batches)
        tracker = flt.SpectrumTracker(H, None, **options)
        start = time.perf_counter()
        tracker.measure()
        seconds.append(time.perf_counter() - start)
    times = training(model, data, optimizer, batch, epochs, tracker)
    if tracked:
        start = time.perf_counter()
        tracker.measure()
        seconds.append(time.perf_counter() - start)
    return [p.detach() for p in model.parameters()], statistics.median(times), seconds, peak() - before


def products_of_eigenpairs(data, epochs, batch, k, samples, warm):
    """Train, tracked after every epoch; return the products that each measurement's eigenpairs took."""
    counts, search = [], concentration.eigsh

    def counting(*given, **options):
        w, v, info = search(*given, return_info=True, **options)
        counts.append(info.num_matvecs)
        return w, v

    torch.manual_seed(0)
    model = ImageNetwork(data[0].shape[1], 10, batch_norm=True, residual=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    batches = list(zip(*(part.split(batch) for part in data), strict=True))
    H = flt.HessianOperator(model, F.cross_entropy, batches)
    tracker = flt.SpectrumTracker(
        H, -(-len(data[0]) // batch), samples=samples, k=k, num_probes=1, num_steps=2, warm=warm
    )
    with unittest.mock.patch.object(concentration, "eigsh", counting):
        tracker.measure()
        training(model, data, optimizer, batch, epochs, tracker)
    return counts


def main(arguments=None):
    """Run the comparison."""
    options = parse(__doc__.splitlines()[0]).parse_args(arguments)
    images, labels = load_images()[1]
    count = 128 if options.quick else len(labels)
    data = images[:count], labels[:count]
    k, probes, steps = (2, 1, 4) if options.quick else (10, 2, 40)
    sizes = {"k": k, "num_probes": probes, "num_steps": steps}
    epochs = 1 if options.quick else 5
    plain, epoch, _, _ = one_run(data, epochs, 128, False)
    rows, results = [], {"epoch": epoch, "measurements": []}
    for samples in (count // 4, None):
        with tempfile.TemporaryDirectory() as folder:
            parameters, _, seconds, grown = one_run(data, epochs, 128, True, directory=folder, samples=samples, **sizes)
        same = all(torch.equal(a, b) for a, b in zip(plain, parameters, strict=True))
        median = statistics.median(seconds)
        rows.append([samples or count, epoch, median, median / epoch, grown / 2**20, same])
        results["measurements"].append(
            {
                "samples": samples or count,
                "seconds": median,
                "epochs": median / epoch,
                "bytes": grown,
                "same bits": same,
            }
        )
    table(
        f"One measurement ({probes} probes of {steps} steps, {k} eigenpairs, gradient)",
        ["samples", "epoch (s)", "measurement (s)", "epochs", "memory besides (MiB)", "training's bits unchanged"],
        rows,
    )
    found = {warm: products_of_eigenpairs(data, epochs, 128, k, count // 4, warm) for warm in (False, True)}
    results["products of eigenpairs"] = {"cold": found[False], "warm": found[True]}
    ratio = sum(found[True]) / sum(found[False])
    table(
        f"Products of {k} eigenpairs at the start and after each epoch, {count // 4} samples: warm / cold {ratio:.2f}",
        ["cold", "warm"],
        list(zip(found[False], found[True], strict=True)),
    )
    write(options.output, "tracking", results)
    return results


if __name__ == "__main__":
    main()
