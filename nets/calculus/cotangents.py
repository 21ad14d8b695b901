"""Cotangents that measure a Jacobian: each unit alone, and random signs."""

import torch
from torch import Tensor

MOST_EXACT_ENTRIES = 2**20
"""The most entries of ∂Y/∂X of a batch from which `Layer.backward_gain` is computed exactly; beyond, it is
estimated."""

RANDOM_SIGNS = 2**16
"""How many random numbers an estimate of ‖∂Y/∂X‖ takes: it is a mean of as many squares, whose relative error is
below a hundredth."""


def unit_cotangents(y: Tensor) -> Tensor:
    """v_kni = δ_ki for each of the K numbers of a sample, of shape (K, N, *S')."""
    samples, *sample = y.shape
    size = y[0].numel()
    unit = torch.eye(size, dtype=y.dtype, device=y.device).reshape(size, 1, *sample)
    return unit.expand(size, samples, *sample)


def random_signs(y: Tensor) -> Tensor:
    """v_ni = ±1 in the shape of Y, always the same: the mean of (Σ_i v_i J_ij)² over all signs is Σ_i J_ij²."""
    return torch.rand(y.shape, generator=torch.Generator().manual_seed(0)).sub(0.5).sign().to(y)
