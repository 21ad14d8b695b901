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
        """B = tr Σ / ‖G‖², in samples: a batch of B has as much noise as signal in its gradient. Far smaller batches take steps
        that are mostly noise; far larger ones spend samples without getting ahead. NaN where no signal can be told from the noise.
        """
        return self.noise / self.signal if self.signal > 0 else math.nan

    @property
    def batch_size(self) -> float:
        """The batch size that the scale suggests: the power of two nearest to B, and at least 1; NaN where B is."""
        return self.scale if math.isnan(self.scale) else 2.0 ** max(0, round(math.log2(max(self.scale, 1.0))))


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


MEMORY = 100
"""Steps that a running average looks back on."""


class RunningNoise:
    """Signal and noise, averaged each by itself over the steps: Σ_s β^(t−s) x_s / Σ_s β^(t−s) with β = 1 − 1/MEMORY.

    A step of MEMORY steps ago counts about a third (1/e) as much as that of now.
    """

    def __init__(self) -> None:
        self._signal = self._noise = self._weight = 0.0

    def add(self, found: GradientNoise) -> GradientNoise:
        """The averages with one more step. A step that is not finite is left out."""
        if math.isfinite(found.signal) and math.isfinite(found.noise):
            decay = 1 - 1 / MEMORY
            self._signal = decay * self._signal + found.signal
            self._noise = decay * self._noise + found.noise
            self._weight = decay * self._weight + 1
        weight = self._weight or math.nan
        return GradientNoise(self._signal / weight, self._noise / weight)
