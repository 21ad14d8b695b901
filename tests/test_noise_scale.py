"""The gradient noise scale of problems for which it is known."""

import math

import numpy as np
import pytest

from nets.records.noise_scale import GradientNoise, gradient_noise


@pytest.mark.parametrize(("small", "large"), [(1, 8), (2, 16), (4, 5)])
def test_the_estimate_is_unbiased(small: int, large: int) -> None:
    """Gradients G + ε_n with ε_n normal, so that ‖G‖² = 25 and tr Σ = 3 · 4 by construction; 20,000 batches."""
    generator = np.random.default_rng(0)
    truth, deviation = np.array([3.0, 4.0, 0.0]), 2.0
    draws = truth + deviation * generator.standard_normal((20_000, large, 3))
    first, whole = draws[:, :small].mean(1), draws.mean(1)
    found = gradient_noise((first**2).sum(1).mean(), small, (whole**2).sum(1).mean(), large)
    # Four standard errors of the mean of each, from the draws themselves.
    signals = (large * (whole**2).sum(1) - small * (first**2).sum(1)) / (large - small)
    noises = ((first**2).sum(1) - (whole**2).sum(1)) / (1 / small - 1 / large)
    assert abs(found.signal - 25) < 4 * signals.std() / math.sqrt(len(draws))
    assert abs(found.noise - 12) < 4 * noises.std() / math.sqrt(len(draws))
    assert found.scale == found.noise / found.signal


def test_a_gradient_without_signal_has_no_noise_scale() -> None:
    assert math.isnan(GradientNoise(-1.0, 2.0).scale)
