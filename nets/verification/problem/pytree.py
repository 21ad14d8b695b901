"""The tensors in the nested inputs and outputs of a module: which can be differentiated, as real numbers, by name."""

from typing import Any

import torch
from torch import Tensor

from nets.torch_internals import pytree


def differentiable(leaf: Any) -> bool:
    """Whether a leaf is a tensor of floating-point or complex numbers."""
    return isinstance(leaf, Tensor) and (leaf.is_floating_point() or leaf.is_complex())


def as_real(tensor: Tensor) -> Tensor:
    """The same numbers; a complex number becomes two real ones in a new last axis."""
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def largest(numbers: Tensor) -> float:
    """max |number|; NaN where one is NaN."""
    if numbers.is_complex():
        numbers = as_real(numbers)
    # In one pass and without a copy, since gradients may be large.
    low, high = numbers.aminmax()
    return max(-float(low), float(high))


def differ(found: Tensor, expected: Tensor, relative: float, absolute: float = 0.0) -> bool:
    """Whether an entry differs by more than this part of the largest expected entry, and by more than `absolute`; also
    where one is NaN."""
    return not largest(found - expected) <= max(relative * largest(expected), absolute)


def same_numbers(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors hold the same numbers, NaN included."""
    # As real numbers, since complex ones in half precision cannot be compared.
    one, other = as_real(one), as_real(other)
    return torch.equal(one, other) or bool(((one == other) | ((one != one) & (other != other))).all())


def like(point: Tensor, original: Tensor) -> Tensor:
    """Real numbers as complex ones again, where the original is complex."""
    return torch.view_as_complex(point.contiguous()) if original.is_complex() else point


def flattened(output: Any, dtype: torch.dtype | None = None) -> Tensor:
    """All numbers of a module's output that can be differentiated, as one real vector.

    Args:
        output: tensors, or nested lists, tuples and dicts of them.
        dtype: of the vector; None for the widest dtype in the output.
    """
    if isinstance(output, Tensor) and output.is_floating_point():
        y = output.reshape(-1)
    else:
        y = torch.cat([_in_a_row(leaf) for leaf in pytree.tree_leaves(output) if differentiable(leaf)])
    return y if dtype is None or y.dtype == dtype else y.to(dtype)


def _in_a_row(tensor: Tensor) -> Tensor:
    """The real numbers of a tensor, shape (R,)."""
    # Stacked where it is complex: the backward of `view_as_real` raises for a gradient at an odd offset in memory, as
    # after a single real number.
    return (torch.stack((tensor.real, tensor.imag), -1) if tensor.is_complex() else tensor).reshape(-1)


def unravelled(flat: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The index of the flat-th number of a tensor of that shape."""
    return tuple(int(i) for i in torch.unravel_index(torch.tensor(flat), shape)) if shape else ()


def keys_of(path: tuple[Any, ...]) -> tuple[Any, ...]:
    """The keys and indices that lead to a leaf in nested lists, tuples and dicts."""
    return tuple(getattr(step, "key", getattr(step, "idx", getattr(step, "name", str(step)))) for step in path)


def input_names(paths: list[tuple[Any, ...]]) -> list[str]:
    """The names of the inputs: 'input', or 'input[0]', 'input[1]', … where there are several."""
    if len(paths) == 1:
        return ["input"]
    return ["input" + "".join(f"[{part}]" for part in keys_of(path)) for path in paths]


def output_in_words(output: Any) -> str:
    """A module's output in an error message."""
    if isinstance(output, Tensor):
        return f"a tensor of shape {tuple(output.shape)} and type {output.dtype}"
    return f"a {type(output).__name__}"
