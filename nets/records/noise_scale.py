"""The gradient noise scale: how noisy a gradient is, from the norms of gradients of two batch sizes.

The gradient of B samples drawn at random is G_B = G + noise, with G the gradient over all data and Σ the covariance of
the gradient of one sample, so that E‖G_B‖² = ‖G‖² + tr Σ / B. Two batch sizes give both unknowns.

Source: McCandlish, Kaplan, Amodei et al., "An Empirical Model of Large-Batch Training", arXiv:1812.06162, section 2.2
and appendix A.1.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GradientNoise:
    """Signal and noise of a gradient. Both are unbiased estimates, so they may be below zero.

    Attributes:
        signal: ‖G‖², the square of the norm of the true gradient.
        noise: tr Σ, the variance of one sample's gradient, summed over all its entries.
    """

    signal: float
    noise: float

    @property
    def scale(self) -> float:
        """B = tr Σ / ‖G‖², in samples: the gradient of a batch of B has as much noise as signal.

        With far smaller batches, steps are mostly noise; with far larger ones, the same progress takes more samples.
        NaN where the signal is not above zero.
        """
        return self.noise / self.signal if self.signal > 0 else math.nan

    @property
    def batch_size(self) -> float:
        """The batch size that the scale suggests: the power of two nearest to B, at least 1; NaN where B is NaN."""
        return self.scale if math.isnan(self.scale) else 2.0 ** max(0, round(math.log2(max(self.scale, 1.0))))


def gradient_noise(small_square: float, small: float, large_square: float, large: float) -> GradientNoise:
    """‖G‖² = (B₂ ‖G₂‖² − B₁ ‖G₁‖²) / (B₂ − B₁) and tr Σ = (‖G₁‖² − ‖G₂‖²) / (1/B₁ − 1/B₂).

    The ratio of the two estimates is biased, and a single step is too noisy. Average signal and noise separately over
    many steps, and then divide.

    Args:
        small_square: ‖G₁‖², the mean over the small batches (or over the samples).
        small: B₁, the samples in a small batch; the harmonic mean where the sizes differ.
        large_square: ‖G₂‖².
        large: B₂, the samples in the large batch, above B₁.
    """
    signal = (large * large_square - small * small_square) / (large - small)
    return GradientNoise(signal, (small_square - large_square) / (1 / small - 1 / large))


MEMORY = 100
"""The memory of a running average: a step so many steps ago has the weight 1/e."""


class RunningNoise:
    """Signal and noise, each averaged over the steps: Σ_s β^(t−s) x_s / Σ_s β^(t−s) with β = 1 − 1/MEMORY."""

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
