"""The Hessian density of a network of your own, drawn: python examples/hessian_density.py [FILE.png]."""

import sys

import torch
from sklearn.datasets import load_wine
from sklearn.preprocessing import StandardScaler

import fastlanczos as fl
import fastlanczos.torch as flt


def main(path="hessian_density.png"):
    features, labels = load_wine(return_X_y=True)
    inputs, targets = torch.from_numpy(StandardScaler().fit_transform(features)), torch.from_numpy(labels)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(13, 30), torch.nn.Tanh(), torch.nn.Linear(30, 3)).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(inputs, targets), batch_size=50)
    for _ in range(30):
        for x, y in loader:
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()

    H = flt.HessianOperator(model, torch.nn.functional.cross_entropy, loader)
    density = fl.spectral_density(H, num_probes=10, num_steps=60, seed=0, progress=True)
    low, high = density.extremes
    print(f"{H}\neigenvalues from {low:.4f} to {high:.4f}, trace about {density.mean * density.dim:.2f}")
    density.plot().figure.savefig(path)


if __name__ == "__main__":
    main(*sys.argv[1:])
