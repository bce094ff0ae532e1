"""Curvature of PyTorch models as operators, and sums, f(A) b and eigenpairs with gradients."""

import sys as _sys

try:
    import torch as _torch  # noqa: F401
except ImportError:
    raise ImportError("fastlanczos.torch needs PyTorch: pip install 'fastlanczos[torch]'") from None

from fastlanczos.curvature.concentration import GradientConcentration, gradient_concentration
from fastlanczos.curvature.fisher import FisherOperator
from fastlanczos.curvature.gauss_newton import GGNOperator
from fastlanczos.curvature.hessian import HessianOperator
from fastlanczos.curvature.memory import Memory
from fastlanczos.curvature.operator import CurvatureOperator
from fastlanczos.curvature.preconditioned import PreconditionedOperator
from fastlanczos.curvature.schedule import Schedule
from fastlanczos.gradients.diagonal import diagonal
from fastlanczos.gradients.eigenpairs import eigsh
from fastlanczos.gradients.estimate import DifferentiableEstimate, GradientEstimate
from fastlanczos.gradients.multiply import funm_multiply
from fastlanczos.gradients.singular import svds
from fastlanczos.gradients.sums import logdet, trace
from fastlanczos.traceable.run import LanczosTensors, lanczos, quadrature
from fastlanczos.tracking.callbacks import lightning_callback, tensorboard_writer, trainer_callback, wandb_writer
from fastlanczos.tracking.measure import measure
from fastlanczos.tracking.measurement import Measurement
from fastlanczos.tracking.prediction import predict_loss
from fastlanczos.tracking.records import DamagedRecordWarning, Records
from fastlanczos.tracking.tracker import SpectrumTracker

# Pickles of results that 0.1.0 wrote name the modules that these classes were in.
for _name, _moved in {
    "concentration": GradientConcentration,
    "measurement": Measurement,
    "records": DamagedRecordWarning,
    "schedule": Schedule,
}.items():
    _sys.modules[f"fastlanczos.torch.{_name}"] = _sys.modules[_moved.__module__]

__all__ = [
    "CurvatureOperator",
    "DamagedRecordWarning",
    "DifferentiableEstimate",
    "FisherOperator",
    "GGNOperator",
    "GradientConcentration",
    "GradientEstimate",
    "HessianOperator",
    "LanczosTensors",
    "Measurement",
    "Memory",
    "PreconditionedOperator",
    "Records",
    "Schedule",
    "SpectrumTracker",
    "diagonal",
    "eigsh",
    "funm_multiply",
    "gradient_concentration",
    "lanczos",
    "lightning_callback",
    "logdet",
    "measure",
    "predict_loss",
    "quadrature",
    "svds",
    "tensorboard_writer",
    "trace",
    "trainer_callback",
    "wandb_writer",
]
