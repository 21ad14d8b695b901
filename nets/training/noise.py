"""How much of a gradient is noise: the gradient noise scale, from the norms of gradients of two batch sizes.

The gradient of B samples drawn at random is G_B = G + noise, with G the gradient of all there is and Σ the covariance of the
gradient of one sample, so that E‖G_B‖² = ‖G‖² + tr Σ / B. Two batch sizes give both unknowns. Source: McCandlish, Kaplan, Amodei
et al., "An Empirical Model of Large-Batch Training", arXiv:1812.06162, section 2.2 and appendix A.1.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GradientNoise:
    """Attributes:
    signal: ‖G‖², the square of the norm of the true gradient; an unbiased estimate, so it may come out below zero.
    noise: tr Σ, the variance of one sample's gradient, summed over all its entries; likewise.
    """

    signal: float
    noise: float

    @property
    def scale(self) -> float:
        """B = tr Σ / ‖G‖², in samples: a batch of B has as much noise as signal in its gradient. Far smaller ones take steps that
        are mostly noise; far larger ones spend samples without getting ahead. NaN where no signal can be told from the noise.
        """
        return self.noise / self.signal if self.signal > 0 else math.nan


def gradient_noise(small_square: float, small: float, large_square: float, large: float) -> GradientNoise:
    """‖G‖² = (B₂ ‖G₂‖² − B₁ ‖G₁‖²) / (B₂ − B₁) and tr Σ = (‖G₁‖² − ‖G₂‖²) / (1/B₁ − 1/B₂).

    A ratio of two estimates is biased, and of a single step hardly an estimate at all: average signal and noise over many steps
    each by itself, and divide then.

    Args:
        small_square: ‖G₁‖², the mean over the small batches (or over the samples) where there are several.
        small: B₁, the samples in a small batch; where they are ragged, the harmonic mean of their sizes.
        large_square: ‖G₂‖².
        large: B₂, the samples in the large batch, above B₁.
    """
    signal = (large * large_square - small * small_square) / (large - small)
    return GradientNoise(signal, (small_square - large_square) / (1 / small - 1 / large))
