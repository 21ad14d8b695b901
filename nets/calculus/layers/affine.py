"""What the layers with a factor and an offset for each unit or channel share."""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nets import validation
from nets.calculus.layer import Layer
from nets.errors import InputError, quoted


class ChannelNorm(Layer):
    """Y_ncs = W_c H_ncs + B_c, with H_ncs = (X_ncs − mean) r. A subclass says over which numbers the means are taken.

    Shapes: X (N, C, *S), Y the same; W and B (C,).

    Args:
        channels: C.
        eps: ε, which is added to each variance.
        affine: whether there are W and B.

    Raises:
        InputError: for an argument out of range.
    """

    unit_axis = 1
    weight: Tensor | None
    bias: Tensor | None

    def __init__(self, channels: int, eps: float, affine: bool) -> None:
        super().__init__()
        self.eps = validation.number("eps", eps, least=0)
        validation.yes_or_no("affine", affine)
        self.weight = nn.Parameter(torch.ones(channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(channels)) if affine else None

    @abstractmethod
    def normal(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """H, in any shape that can be reshaped to that of X, and r."""

    @abstractmethod
    def _projected(self, u: Tensor, x: Tensor) -> Tensor:
        """u → Σ u ∂H/∂X, which is symmetric: r (u − mean u − H mean (u H)) where the means are those of X."""

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """v_ncs → r (u − mean u − H mean (u H)), with u_ncs = v_ncs W_c."""
        return self._projected(v if self.weight is None else v * along_channels(self.weight, x), x)

    def pushforward(self, t: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """t_ncs → W_c r (t − mean t − H mean (t H))."""
        pushed = self._projected(t, x)
        return pushed if self.weight is None else pushed * along_channels(self.weight, x)

    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """W: Σ_ns v_ncs H_ncs and B: Σ_ns v_ncs."""
        return self._by_parameter(v, x, (0, *range(2, x.ndim)))

    def sample_gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """W: Σ_s v_ncs H_ncs and B: Σ_s v_ncs."""
        return self._by_parameter(v, x, tuple(range(2, x.ndim)))

    def parameter_pushforward(self, tangents: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        """t → t^W_c H_ncs + t^B_c."""
        by_channel = {name: along_channels(tangent, x) for name, tangent in tangents.items()}
        return affine_tangent(by_channel, self.normal(x)[0].reshape(x.shape))

    def _by_parameter(self, v: Tensor, x: Tensor, axes: tuple[int, ...]) -> dict[str, Tensor]:
        if self.weight is None:
            return {}
        return {"weight": summed(v * self.normal(x)[0].reshape(x.shape), axes), "bias": summed(v, axes)}


Size = int | Sequence[int]
"""One whole number for all axes, or one for each axis."""


def sizes(name: str, value: Size, least: int = 1) -> tuple[int, ...]:
    """One size or several as a tuple.

    Raises:
        InputError: for something else, or a size below `least`.
    """
    several = tuple(value) if isinstance(value, Sequence) else (value,)
    if not several:
        raise InputError(f"{name} is {quoted(value)}; expected at least one size.")
    return tuple(validation.whole(name, size, least) for size in several)


def divides(name: str, divisor: int, whole_name: str, whole: int) -> None:
    """InputError unless `divisor` divides `whole`."""
    if whole % divisor:
        raise InputError(f"{name} is {divisor} and {whole_name} {whole}; expected a divisor of {whole}.")


def expect_channels(layer: nn.Module, x: Tensor, channels: int, axes: Sequence[int] = ()) -> None:
    """InputError unless X has the shape (N, channels, …), with one of these counts of axes; any from 2 on if empty."""
    if x.ndim < 2 or x.shape[1] != channels or (axes and x.ndim not in axes):
        expected = " or ".join(f"{count} axes" for count in axes) or "2 axes or more"
        raise InputError(
            f"a {type(layer).__name__} with {channels} channels was given X of shape {tuple(x.shape)}; expected "
            f"{expected}, samples first and then {channels} channels."
        )


def along_channels(values: Tensor, x: Tensor) -> Tensor:
    """One number for each channel, with axes of size 1 for the positions of X."""
    return values.reshape(-1, *(1 for _ in x.shape[2:]))


def affine_tangent(tangents: dict[str, Tensor], h: Tensor) -> Tensor:
    """t^W H + t^B, entry by entry; a tangent that is missing counts as zero."""
    pushed = tangents["weight"] * h if "weight" in tangents else h.new_zeros(h.shape)
    return pushed + tangents["bias"] if "bias" in tangents else pushed


def summed(t: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Σ over some axes. `Tensor.sum` would add up everything where there are none."""
    return t.sum(axes) if axes else t
