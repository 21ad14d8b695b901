"""PyTorch's operations and modules at PyTorch's sample inputs, as modules that `nets.verify` accepts.

Source: `torch.testing._internal.common_methods_invocations.op_db` and
`torch.testing._internal.common_modules.module_db`, the tables of PyTorch's own test suite.
"""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrizations
from torch.utils import _pytree as pytree

NUMBERS = 200
"""Largest number of differentiated real numbers in a sample; a complex number counts as two."""

MOST_DRAWN = 200
"""The samples of an operation are chosen among its first 200; some operations have thousands."""

DTYPES = {"float64": torch.float64, "complex128": torch.complex128}

T = TypeVar("T")


@dataclass(frozen=True)
class Subject:
    """One operation or module at one point.

    Attributes:
        name: PyTorch's name for it, with its variant.
        dtype: 'float64' or 'complex128'.
        sample: the place of the sample in PyTorch's list.
        module: the module to verify.
        inputs: its inputs; the derivatives are with respect to the inputs that require a gradient.
        twice: whether PyTorch declares second derivatives.
        forward: whether PyTorch declares forward mode.
    """

    name: str
    dtype: str
    sample: int
    module: nn.Module
    inputs: tuple[Tensor, ...]
    twice: bool
    forward: bool


class Called(nn.Module):
    """function(*args, **kwargs) as a module of the tensors among its arguments."""

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        super().__init__()
        self.function = function  # a module is registered, with its parameters
        leaves, self.structure = pytree.tree_flatten((args, kwargs))
        self.fixed = [None if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        self.places = [place for place, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]

    def forward(self, *tensors: Tensor) -> Any:
        leaves = list(self.fixed)
        for place, tensor in zip(self.places, tensors, strict=True):
            leaves[place] = tensor
        args, kwargs = pytree.tree_unflatten(leaves, self.structure)
        return self.function(*args, **kwargs)


def operations() -> list[str]:
    """The names of all operations that PyTorch can differentiate."""
    return [name for name, op in _operations().items() if _differentiable(op)]


def modules() -> list[str]:
    """The names of all modules."""
    return list(_modules())


def of_operation(name: str, count: int) -> Iterator[Subject]:
    """Yield `count` samples of an operation for each dtype, spread over PyTorch's list."""
    op = _operations()[name]
    for dtype in _differentiable(op):
        torch.manual_seed(0)
        drawn = islice(op.sample_inputs("cpu", DTYPES[dtype], requires_grad=True), MOST_DRAWN)
        sized = [
            (place, sample, _size((sample.input, sample.args, sample.kwargs))) for place, sample in enumerate(drawn)
        ]
        small = [(place, sample) for place, sample, size in sized if 0 < size <= NUMBERS]
        for place, sample in _spread(small, count):
            args, kwargs = (sample.input, *sample.args), sample.kwargs
            called = Called(functools.partial(_processed, op, sample.output_process_fn_grad), args, kwargs)
            yield Subject(
                name, dtype, place, called, _tensors((args, kwargs)), op.supports_gradgrad, op.supports_forward_ad
            )


def of_module(name: str, count: int) -> Iterator[Subject]:
    """Yield `count` samples of a module, in training mode."""
    info = _modules()[name]
    torch.manual_seed(0)
    found = islice(info.module_inputs_func(info, "cpu", torch.float64, requires_grad=True, training=True), MOST_DRAWN)
    built = []
    for place, sample in enumerate(found):
        module = info.module_cls(*sample.constructor_input.args, **sample.constructor_input.kwargs).double().train()
        arguments = (sample.forward_input.args, sample.forward_input.kwargs)
        known = not any(is_lazy(parameter) for parameter in module.parameters())
        if known and 0 < _size((arguments, list(module.parameters()))) <= NUMBERS:
            built.append((place, (module, arguments)))
    for place, (module, arguments) in _spread(built, count):
        yield Subject(
            name, "float64", place, Called(module, *arguments), _tensors(arguments), info.supports_gradgrad, False
        )


def of_own(name: str, count: int) -> Iterator[Subject]:
    """Yield a sample that PyTorch's tables lack."""
    module, inputs = OWN[name]()
    yield Subject(name, "float64", 0, Called(module, inputs, {}), inputs, True, False)


def _one_sample() -> tuple[nn.Module, tuple[Tensor, ...]]:
    torch.manual_seed(0)
    return nn.InstanceNorm2d(2).double(), (torch.randn(1, 2, 2, 2, dtype=torch.float64, requires_grad=True),)


def _weight_norm() -> tuple[nn.Module, tuple[Tensor, ...]]:
    torch.manual_seed(0)
    return parametrizations.weight_norm(nn.Linear(3, 2)).double(), (
        torch.randn(2, 3, dtype=torch.float64, requires_grad=True),
    )


OWN: dict[str, Callable[[], tuple[nn.Module, tuple[Tensor, ...]]]] = {
    "nn_InstanceNorm2d_one_sample": _one_sample,
    "nn_utils_parametrizations_weight_norm": _weight_norm,
}
"""Modules that PyTorch's tables lack and in which a fault was found."""


@functools.cache
def _operations() -> dict[str, Any]:
    # Imported late, since the import takes fifteen seconds.
    from torch.testing._internal.common_methods_invocations import op_db

    return {op.formatted_name: op for op in op_db}


@functools.cache
def _modules() -> dict[str, Any]:
    from torch.testing._internal.common_modules import module_db

    return {info.formatted_name: info for info in module_db}


def _differentiable(op: Any) -> list[str]:
    dtypes = op.supported_backward_dtypes("cpu") if op.supports_autograd else set()
    return [name for name, dtype in DTYPES.items() if dtype in dtypes]


def _processed(op: Any, process: Callable[[Any], Any] | None, *args: Any, **kwargs: Any) -> Any:
    """The function that PyTorch's own gradient tests differentiate. It makes matrices symmetric before a Cholesky
    factorization, makes singular vectors independent of their phase, and so on."""
    output = op.gradcheck_wrapper(op.get_op(), *args, **kwargs)
    return output if process is None else process(output)


def _tensors(arguments: Any) -> tuple[Tensor, ...]:
    return tuple(leaf for leaf in pytree.tree_leaves(arguments) if isinstance(leaf, Tensor))


def _size(arguments: Any) -> int:
    """The number of real numbers that the derivatives are with respect to."""
    return sum(x.numel() * (1 + x.is_complex()) for x in _tensors(arguments) if x.requires_grad)


def _spread(found: list[T], count: int) -> list[T]:
    """`count` items of `found`, evenly spaced; all of them if there are no more."""
    if len(found) <= count:
        return found
    return [found[round(i * (len(found) - 1) / max(1, count - 1))] for i in range(count)]
