"""The tensors that a module returns, as rows of one vector Y: which row belongs to which tensor, and its name."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from nets.errors import InputError
from nets.text import index_text
from nets.torch_internals import pytree
from nets.verification.problem.copies import check_tensor
from nets.verification.problem.pytree import as_real, differentiable, keys_of, output_in_words, unravelled


class EntryIndex(NamedTuple):
    """The indices of an entry of ∂Y/∂p.

    Attributes:
        key: of the output tensor; empty where the module returns one tensor.
        output_index: the index in that tensor.
        parameter_index: the index in p.
        letter: the name of the output.
    """

    key: tuple[Any, ...]
    output_index: tuple[int, ...]
    parameter_index: tuple[int, ...]
    letter: str = "Y"

    @property
    def output(self) -> str:
        """The output's name in a derivative: 'Y', "Y[1]" or "Y['key']"."""
        return self.letter + "".join(f"[{part!r}]" for part in self.key)

    def fields(self) -> dict[str, Any]:
        """The fields of a `Check` that name the entry."""
        return {
            "worst_index": (*self.key, *self.output_index, *self.parameter_index),
            "output": self.output,
            "output_index": self.output_index,
            "parameter_index": self.parameter_index,
        }


class Outputs:
    """The output tensors that can be differentiated, in the order in which they are flattened to Y of shape (M,).

    Attributes:
        keys: the key of each tensor in the output, such as ('logits',); () where the output is one tensor.
        unit: the unit roundoff of each number in the precision in which the module returns it, shape (M,).
        signs: −1 for each number that is the imaginary part of another, 1 for all others, shape (M,).

    Args:
        output: what the module returned.
        letter: the name of the output in a derivative.

    Raises:
        InputError: if the output has no floating-point number, or a tensor that is sparse, nested or on the device
            'meta'.
    """

    def __init__(self, output: Any, letter: str = "Y") -> None:
        self.letter = letter
        found, _ = pytree.tree_flatten_with_path(output)
        for _, leaf in found:
            if isinstance(leaf, Tensor):
                check_tensor("the output", leaf)
        tensors = [leaf for _, leaf in found if differentiable(leaf)]
        if not any(tensor.numel() for tensor in tensors):
            empty = any(isinstance(leaf, Tensor) and not leaf.numel() for _, leaf in found)
            mend = (
                "give it a batch with one sample or more"
                if empty
                else "return tensors, or tuples, lists and dicts of them"
            )
            raise InputError(
                f"the module returned {output_in_words(output)}; expected at least one floating-point number in a "
                f"tensor, since nothing else can be differentiated: {mend}."
            )
        self.keys = [keys_of(path) for path, leaf in found if differentiable(leaf)]
        self._shapes = [tuple(as_real(tensor).shape) for tensor in tensors]
        self.unit = torch.cat([torch.full((as_real(t).numel(),), torch.finfo(t.dtype).eps / 2) for t in tensors])
        self.signs = torch.cat([_signs(tensor) for tensor in tensors])

    @property
    def rows(self) -> list[slice]:
        """The rows of Y that belong to each tensor that is not empty."""
        sizes = [int(torch.Size(shape).numel()) for shape in self._shapes]
        ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
        return [slice(end - size, end) for size, end in zip(sizes, ends, strict=True) if size]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each tensor: 'Y', or 'Y[0]', …"""
        return {
            EntryIndex(key, (), (), self.letter).output: shape
            for key, shape in zip(self.keys, self._shapes, strict=True)
        }

    def index(self, row: int) -> tuple[tuple[Any, ...], tuple[int, ...]]:
        """The key of a tensor, and the index in it, of one of the M numbers."""
        for key, shape in zip(self.keys, self._shapes, strict=True):
            size = int(torch.Size(shape).numel())
            if row < size:
                return key, unravelled(row, shape)
            row -= size
        raise IndexError(row)

    def name(self, row: int) -> str:
        """The name of one of the M numbers, such as 'Y[0, 2]', or "Y['key'][0, 2]" where the module returns several
        tensors."""
        key, index = self.index(row)
        return f"{EntryIndex(key, index, (), self.letter).output}{index_text(index)}"

    def samples(self, count: int) -> Tensor | None:
        """The sample n that each number belongs to, shape (M,); None unless the first axis of every tensor has the size
        `count`."""
        if not all(shape and shape[0] == count for shape in self._shapes):
            return None
        return torch.cat([torch.arange(s[0]).repeat_interleave(torch.Size(s[1:]).numel()) for s in self._shapes])


def _signs(tensor: Tensor) -> Tensor:
    """−1 for each imaginary part, 1 for all other numbers."""
    signs = torch.ones(as_real(tensor).shape)
    if tensor.is_complex():
        signs[..., 1] = -1
    return signs.reshape(-1)
