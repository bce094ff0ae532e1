"""A training run that is tracked, to be killed: python tracked_training.py DIRECTORY [STEPS]."""

import sys

import torch
from torch.nn import functional as F

import fastlanczos.torch as flt

torch.set_num_threads(1)


def train(directory, steps=24, track=True):
    """Train a small network with dropout and batch norm; return its parameters and the generator's last state."""
    torch.manual_seed(3)
    model = torch.nn.Sequential(
        torch.nn.Linear(6, 8), torch.nn.BatchNorm1d(8), torch.nn.Tanh(), torch.nn.Dropout(0.2), torch.nn.Linear(8, 3)
    )
    x, y = torch.randn(64, 6), torch.randint(3, (64,))
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=16, shuffle=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    H = flt.HessianOperator(model, F.cross_entropy, loader, seed=0)
    tracker = flt.SpectrumTracker(
        H, 3, directory, optimizer=optimizer, k=3, num_probes=2, num_steps=12, samples=48, seed=1
    )
    while tracker.count < steps:
        for a, b in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(a), b).backward()
            optimizer.step()
            if track:
                tracker.step()
            else:
                tracker.count += 1
    return [p.detach().clone() for p in model.parameters()], [b.clone() for b in model.buffers()], torch.get_rng_state()


if __name__ == "__main__":
    train(*sys.argv[1:2], *map(int, sys.argv[2:]))
