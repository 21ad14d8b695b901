"""What the layers with a factor and an offset for each unit or channel share."""

from collections.abc import Sequence

from torch import Tensor, nn

from nets import validation
from nets.errors import InputError, quoted


def sizes(name: str, value: int | Sequence[int], least: int = 1) -> tuple[int, ...]:
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
