"""SGD against Adam by the spectra that they lead to: python examples/compare_optimizers.py [DIR].

Both train the same network from the same start. `fastlanczos report DIR` shows the two side by side.
"""

import sys

import torch
from sklearn.datasets import load_wine
from sklearn.preprocessing import StandardScaler

import fastlanczos.torch as flt


def train(make_optimizer, directory, steps):
    features, labels = load_wine(return_X_y=True)
    inputs = torch.from_numpy(StandardScaler().fit_transform(features)).float()
    targets = torch.from_numpy(labels)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(13, 30), torch.nn.Tanh(), torch.nn.Linear(30, 3))
    loss_fn = torch.nn.functional.cross_entropy
    optimizer = make_optimizer(model.parameters())
    H = flt.HessianOperator(model, loss_fn, (inputs, targets))
    tracker = flt.SpectrumTracker(H, every=steps // 4, directory=directory, optimizer=optimizer, k=5)
    tracker.measure()
    for _ in range(steps):
        optimizer.zero_grad()
        loss_fn(model(inputs), targets).backward()
        optimizer.step()
        tracker.step()
    return tracker.measurements


def main(directory="optimizers", steps=100):
    found = {
        "SGD": train(lambda p: torch.optim.SGD(p, lr=0.5), f"{directory}/SGD", steps),
        "Adam": train(lambda p: torch.optim.Adam(p, lr=0.01), f"{directory}/Adam", steps),
    }
    print("step  " + "".join(f"{name:>36}" for name in found))
    for both in zip(*found.values(), strict=True):
        columns = (f"loss {m.loss:.4f}  top {m.largest:8.4f}  ratio {m.ratio:5.1f}" for m in both)
        print(f"{both[0].step:4d}  " + "".join(f"{column:>36}" for column in columns))


if __name__ == "__main__":
    main(*sys.argv[1:])
