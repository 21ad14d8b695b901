"""Losses, each with ∂ℓ/∂Y in closed form directly beneath its value.

loss: what a loss is. Begin here.
numbers: mean squared error, L1, Huber: one number for each output.
cross_entropy: one class for each sample or token, with label smoothing and masked tokens.
chosen: the loss that the settings of a run name.
probabilities: binary cross entropy, Kullback-Leibler divergence: probabilities as targets.

Index letters: n sample, k output. A loss is a mean over the samples, or their sum; masked samples do not count.
A new loss is one class with `forward`, `gradient` and `check`; `known_as` enters it in `LOSSES`.
"""

from nets.calculus.losses.cross_entropy import CrossEntropy as CrossEntropy
from nets.calculus.losses.cross_entropy import MaskedCrossEntropy as MaskedCrossEntropy
from nets.calculus.losses.loss import LOSSES as LOSSES
from nets.calculus.losses.loss import Letter as Letter
from nets.calculus.losses.loss import Loss as Loss
from nets.calculus.losses.numbers import L1 as L1
from nets.calculus.losses.numbers import Huber as Huber
from nets.calculus.losses.numbers import MeanSquaredError as MeanSquaredError
from nets.calculus.losses.probabilities import BinaryCrossEntropy as BinaryCrossEntropy
from nets.calculus.losses.probabilities import KLDivergence as KLDivergence
