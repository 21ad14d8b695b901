"""The parameters that a descent moves, in the memory where they are."""

from collections.abc import Sequence

from torch import Tensor, nn

from nets.calculus.network import Network
from nets.errors import InputError, quoted


def trained(network: Network) -> dict[str, nn.Parameter]:
    """The parameters that a descent moves: all that require a gradient."""
    return {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}


class TrainedParameters:
    """The parameters of a network that require a gradient.

    Attributes:
        names: of the P parameters.
        tensors: θ_p, without a graph. An update changes them in place.
        first: the first parameter; its `.grad` shows whether the caller has cleared the gradients.
        contiguous: whether all are contiguous and of one precision, as fused kernels need them.

    Raises:
        InputError: if entries of a parameter share memory, as after `expand`.
    """

    def __init__(self, named: dict[str, nn.Parameter]) -> None:
        for name, parameter in named.items():
            if any(
                count > 1 and stride == 0 for count, stride in zip(parameter.shape, parameter.stride(), strict=True)
            ):
                raise InputError(
                    f"the entries of {name} share their memory; expected one number for each, so that each can move by "
                    "itself: call parameter.data = parameter.data.contiguous()."
                )
        self.names, self._parameters = tuple(named), tuple(named.values())
        self.tensors = [parameter.data for parameter in self._parameters]
        self.contiguous = contiguous(self.tensors)
        self.first = self._parameters[0]

    @property
    def size(self) -> int:
        """The number of entries in all parameters."""
        return sum(tensor.numel() for tensor in self.tensors)

    def set_gradients(self, gradients: list[Tensor]) -> None:
        """Set parameter.grad = G_p, for the caller."""
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = gradient


def contiguous(tensors: Sequence[Tensor]) -> bool:
    """Whether all tensors are contiguous and of one precision."""
    return all(tensor.is_contiguous() and tensor.dtype == tensors[0].dtype for tensor in tensors)


def shape_and_precision(value: object) -> str:
    """The shape and precision of a tensor, in words; for any other value its repr."""
    return f"{value.dtype} of shape {tuple(value.shape)}" if isinstance(value, Tensor) else quoted(value)


def check_like(what: str, value: object, parameter: Tensor) -> None:
    """Raise InputError unless `value` is a tensor of the parameter's shape and precision."""
    if shape_and_precision(value) != shape_and_precision(parameter):
        raise InputError(
            f"{what} is {shape_and_precision(value)}; expected {shape_and_precision(parameter)}: return a "
            "tensor of the shape and precision of its parameter."
        )
