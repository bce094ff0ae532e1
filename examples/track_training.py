"""The Hessian spectrum of a network of your own, followed through training: python examples/track_training.py [DIR].

Stop it and start it again: what was measured is not measured again. `fastlanczos report DIR` makes a page of it.
"""

import sys

import torch
from sklearn.datasets import load_digits

import fastlanczos.torch as flt


def main(directory="tracked", steps=200, every=50):
    pixels, labels = load_digits(return_X_y=True)
    inputs, targets = torch.from_numpy(pixels / 16).float(), torch.from_numpy(labels)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
    loss_fn = torch.nn.functional.cross_entropy
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(inputs, targets), batch_size=100, shuffle=True)

    H = flt.HessianOperator(model, loss_fn, loader)
    tracker = flt.SpectrumTracker(H, every=every, directory=directory, optimizer=optimizer, progress=True)
    tracker.measure()  # before the first step
    while tracker.count < steps:
        for x, y in loader:
            optimizer.zero_grad()
            loss_fn(model(x), y).backward()
            optimizer.step()
            tracker.step()
            if tracker.count == steps:
                break

    for m in tracker.measurements:
        ends = f"{m.smallest:8.4f} to {m.largest:8.4f}"
        print(f"step {m.step:4d}  loss {m.loss:.4f}  eigenvalues {ends}  trace {m.trace:.2f}")
    tracker.plot().savefig(f"{directory}/spectrum.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
