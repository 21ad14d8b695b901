"""A call of a layer's own method: an error in it, or a write into its arguments, is an InputError in one sentence."""

import contextlib
from collections.abc import Iterator, Mapping

from torch import Tensor

from nets.errors import InputError, quoted
from nets.text import listed, one_line
from nets.torch_internals import version_of
from nets.validation import refusal


@contextlib.contextmanager
def running(layer: object, method: str, **arguments: Tensor) -> Iterator[str]:
    """A context for a call of a layer's method. Yields how the method is written, such as 'Tanh.pullback'.

    Raises:
        InputError: if the method fails, or writes into one of its arguments.
    """
    code = f"{type(layer).__name__}.{method}"
    before = {name: version_of(tensor) for name, tensor in arguments.items()}
    shapes = ", ".join(
        f"{name} of the shape {tuple(tensor.shape)} in {tensor.dtype}" for name, tensor in arguments.items()
    )
    try:
        yield code
    except InputError:
        raise
    except Exception as error:  # the layer may be the caller's, and may raise anything
        raise InputError(
            f"{code} fails with {type(error).__name__} ({one_line(error)}); expected a method that takes {shapes}."
        ) from error
    written = [name for name, tensor in arguments.items() if version_of(tensor) != before[name]]
    if written:
        raise InputError(
            f"{code} writes into {listed(written)}; expected a method that leaves its arguments as they are: write to "
            f"{written[0]}.clone()."
        )


def misshapen(code: str, found: object, expected: str) -> InputError:
    """The error for a method whose result is no tensor of the expected shape."""
    given = (
        f"{found.dtype} of the shape {tuple(found.shape)}" if isinstance(found, Tensor) else f"a {type(found).__name__}"
    )
    return InputError(f"{code} returned {given}; expected a tensor of the shape {expected}.")


def expect_gradients(code: str, found: object, parameters: Mapping[str, Tensor]) -> None:
    """InputError unless the result of a method is a dict with a gradient of the right shape for each parameter, and no
    other."""
    if not isinstance(found, dict):
        raise refusal(f"the result of {code}", found, "a dict {parameter: gradient}")
    wrong = [f"a gradient of {quoted(name)}" for name in found if name not in parameters]
    wrong += [f"no gradient of {name}" for name in parameters if not isinstance(found.get(name), Tensor)]
    if wrong:
        keys = f"the key{'s' * (len(parameters) > 1)} {listed(list(parameters))}" if parameters else "an empty dict"
        raise InputError(
            f"{code} returned {wrong[0]}; expected one for each parameter of the layer and no other: {keys}."
        )
    for name, parameter in parameters.items():
        if found[name].shape != parameter.shape:
            raise InputError(
                f"the gradient of {name} that {code} returned has the shape {tuple(found[name].shape)}; expected "
                f"{tuple(parameter.shape)}, the shape of the parameter: sum over the samples."
            )
