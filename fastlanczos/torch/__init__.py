"""Curvature of PyTorch models as operators: Hessian, Gauss-Newton and Fisher over a whole data set."""

try:
    import torch as _torch  # noqa: F401
except ImportError:
    raise ImportError("fastlanczos.torch needs PyTorch: pip install 'fastlanczos[torch]'") from None

from fastlanczos.torch.concentration import GradientConcentration, gradient_concentration
from fastlanczos.torch.curvature import CurvatureOperator
from fastlanczos.torch.fisher import FisherOperator
from fastlanczos.torch.gauss_newton import GGNOperator
from fastlanczos.torch.hessian import HessianOperator
from fastlanczos.torch.hooks import lightning_callback, tensorboard_writer, trainer_callback, wandb_writer
from fastlanczos.torch.measurement import Measurement, measure
from fastlanczos.torch.prediction import predict_loss
from fastlanczos.torch.records import DamagedRecordWarning, Records
from fastlanczos.torch.schedule import Schedule
from fastlanczos.torch.tracker import SpectrumTracker

__all__ = [
    "CurvatureOperator",
    "DamagedRecordWarning",
    "FisherOperator",
    "GGNOperator",
    "GradientConcentration",
    "HessianOperator",
    "Measurement",
    "Records",
    "Schedule",
    "SpectrumTracker",
    "gradient_concentration",
    "lightning_callback",
    "measure",
    "predict_loss",
    "tensorboard_writer",
    "trainer_callback",
    "wandb_writer",
]
