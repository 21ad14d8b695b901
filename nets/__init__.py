"""Layers that know their own derivatives: prove every entry of a gradient, explain it, watch it while training."""

from typing import TYPE_CHECKING

from nets.calculus import architectures as architectures
from nets.calculus import rules as rules
from nets.calculus.jacobian import Jacobian as Jacobian
from nets.calculus.jacobians import jacobians as jacobians
from nets.calculus.layer import Layer as Layer
from nets.calculus.layers import Activation as Activation
from nets.calculus.layers import Linear as Linear
from nets.calculus.layers.conversion import register as register
from nets.calculus.losses import L1 as L1
from nets.calculus.losses import BinaryCrossEntropy as BinaryCrossEntropy
from nets.calculus.losses import CrossEntropy as CrossEntropy
from nets.calculus.losses import Huber as Huber
from nets.calculus.losses import KLDivergence as KLDivergence
from nets.calculus.losses import Loss as Loss
from nets.calculus.losses import MaskedCrossEntropy as MaskedCrossEntropy
from nets.calculus.losses import MeanSquaredError as MeanSquaredError
from nets.calculus.network import Network as Network
from nets.calculus.network import mlp as mlp
from nets.data.batch import Batch as Batch
from nets.data.batch import DataSet as DataSet
from nets.errors import DivergenceError as DivergenceError
from nets.errors import GradientError as GradientError
from nets.errors import InputError as InputError
from nets.errors import RankError as RankError
from nets.explanation.explain.explain import explain as explain
from nets.explanation.explain.loss_report import LossExplanation as LossExplanation
from nets.explanation.explain.of_loss import explain_loss as explain_loss
from nets.explanation.explain.report import Explanation as Explanation
from nets.explanation.picture.picture import BackwardPicture as BackwardPicture
from nets.explanation.picture.picture import picture as picture
from nets.records.certificate import Certificate as Certificate
from nets.records.certificate import Check as Check
from nets.records.step import Step as Step
from nets.training.descend import descend as descend
from nets.training.gradients.source import GradientSource as GradientSource
from nets.training.optimizers.update_rule import UpdateRule as UpdateRule
from nets.training.state import TrainState as TrainState
from nets.verification.accumulation.check import check_accumulation as check_accumulation
from nets.verification.verify import verify as verify

if TYPE_CHECKING:
    from nets.telemetry.monitor import GradientMonitor as GradientMonitor


def __getattr__(name: str) -> object:
    """`nets.GradientMonitor` brings TensorBoard along, which takes as long to import as all the rest."""
    if name == "GradientMonitor":
        from nets.telemetry.monitor import GradientMonitor

        return GradientMonitor
    raise AttributeError(f"module 'nets' has no attribute {name!r}")
