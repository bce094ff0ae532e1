"""The study's networks: small convolutional ones, with or without batch norm, residual or plain."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["ImageNetwork"]


class ImageNetwork(nn.Module):
    """A stem of stride 2, blocks of two convolutions at two sizes of image, and a linear layer on what is left.

    The first `blocks[0]` blocks have `width` channels, the other `blocks[1]` twice as many at half the size. With
    `residual`, each block adds to what it gets; with `batch_norm`, each convolution is followed by one.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        *,
        batch_norm: bool,
        residual: bool,
        width: int = 8,
        blocks: tuple[int, int] = (1, 2),
    ) -> None:
        super().__init__()
        self.stem = _convolution(channels, width, batch_norm, stride=2)
        self.first = nn.Sequential(*[_Block(width, batch_norm, residual) for _ in range(blocks[0])])
        self.wider = _convolution(width, 2 * width, batch_norm, stride=2)
        self.second = nn.Sequential(*[_Block(2 * width, batch_norm, residual) for _ in range(blocks[1])])
        self.out = nn.Linear(2 * width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (samples, classes) for images (samples, channels, height, width)."""
        y = self.first(torch.relu(self.stem(x)))
        y = self.second(torch.relu(self.wider(y)))
        logits: torch.Tensor = self.out(y.mean((2, 3)))
        return logits


class _Block(nn.Module):
    def __init__(self, width: int, batch_norm: bool, residual: bool) -> None:
        super().__init__()
        self.one, self.two = (_convolution(width, width, batch_norm) for _ in range(2))
        self.residual = residual

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.two(torch.relu(self.one(x)))
        return torch.relu(x + y if self.residual else y)


def _convolution(inputs: int, outputs: int, batch_norm: bool, stride: int = 1) -> nn.Module:
    kernel = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=not batch_norm)
    nn.init.kaiming_normal_(kernel.weight, nonlinearity="relu")
    return nn.Sequential(kernel, nn.BatchNorm2d(outputs)) if batch_norm else kernel
