"""The norm of each sample's own gradient."""

from dataclasses import dataclass

from torch import Tensor

from nets.records.noise_scale import GradientNoise, gradient_noise


@dataclass(frozen=True, slots=True, eq=False)
class SampleNorms:
    """‖∂ℓ_n/∂θ_p‖ at one step, with ℓ_n the loss of sample n alone.

    Attributes:
        names: of the P parameters.
        values: shape (P, N), the samples in the order of the batch.
        count: C, the samples that the loss does not mask.
        summed: whether the loss of the step is the sum of ℓ_n, not the mean.
        even: whether all samples that count have the same weight in the loss. A mean over the tokens of sequences of
            different lengths has other weights.
    """

    names: tuple[str, ...]
    values: Tensor
    count: int
    summed: bool = False
    even: bool = True

    @property
    def norms(self) -> dict[str, Tensor]:
        """Parameter → ‖∂ℓ_n/∂θ_p‖, shape (N,)."""
        return dict(zip(self.names, self.values, strict=True))

    def noise(self, gradient_norm: float) -> GradientNoise | None:
        """The gradient noise of this step alone, see `gradient_noise`; None for one sample, and where the samples
        have different weights. Its small batches are single samples.

        Args:
            gradient_norm: ‖∂ℓ/∂θ‖ over all parameters.
        """
        if self.count < 2 or not self.even:
            return None
        mean_square = float(self.values.double().square().sum()) / self.count
        return gradient_noise(mean_square, 1, (gradient_norm / (self.count if self.summed else 1)) ** 2, self.count)
