"""The tensors that a module returns, as rows of one vector Y: which row belongs to which tensor, and what it is called."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from nets.errors import InputError
from nets.text import indexed
from nets.verification.problem.copies import check_tensor
from nets.verification.problem.pytree import as_real, described, differentiable, key, unravelled


class Place(NamedTuple):
    """Where an entry of ∂Y/∂p stands: the key of the output's tensor, empty where it is the only one, the index in that tensor, the
    index in p, and the letter that the output goes by."""

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
    """What a module returns that can be differentiated, in the order in which it is flattened to Y of shape (M,).

    Attributes:
        places: the key of each tensor in the output, such as ('logits',); () where the output is one tensor.
        unit: the unit roundoff of each number in the precision in which the module returns it, shape (M,).
        signs: −1 for each number that is the imaginary part of another, 1 for all others, shape (M,).

    Args:
        output: what the module returned.
        letter: what the output is called in a derivative.

    Raises:
        InputError: if it has no floating-point number, or a tensor without numbers of its own.
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
            mend = "give it a batch with one sample or more" if empty else "return tensors, or tuples, lists and dicts of them"
            raise InputError(
                f"the module returned {described(output)}; expected at least one floating-point number in a tensor, since there is "
                f"nothing else to differentiate: {mend}."
            )
        self.places = [key(path) for path, leaf in found if differentiable(leaf)]
        self._shapes = [tuple(as_real(tensor).shape) for tensor in tensors]
        self.unit = torch.cat([torch.full((as_real(t).numel(),), torch.finfo(t.dtype).eps / 2) for t in tensors])
        self.signs = torch.cat([_signs(tensor) for tensor in tensors])

    @property
    def rows(self) -> list[slice]:
        """The rows of Y that belong to each tensor, without those that are empty."""
        sizes = [int(torch.Size(shape).numel()) for shape in self._shapes]
        ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
        return [slice(end - size, end) for size, end in zip(sizes, ends, strict=True) if size]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each tensor: 'Y', or 'Y[0]', …"""
        return {Place(place, (), (), self.letter).output: shape for place, shape in zip(self.places, self._shapes, strict=True)}

    def place(self, row: int) -> tuple[tuple[Any, ...], tuple[int, ...]]:
        """The key of a tensor, and the index in it, of one of the M numbers."""
        for place, shape in zip(self.places, self._shapes, strict=True):
            size = int(torch.Size(shape).numel())
            if row < size:
                return place, unravelled(row, shape)
            row -= size
        raise IndexError(row)

    def name(self, row: int) -> str:
        """One of the M numbers in words, such as 'Y[0, 2]'; where the module returns several tensors, "Y['key'][0, 2]"."""
        place, index = self.place(row)
        return f"{Place(place, index, (), self.letter).output}{indexed(index)}"

    def samples(self, count: int) -> Tensor | None:
        """The sample n that each number belongs to, shape (M,), where the first axis of every tensor runs over `count` samples."""
        if not all(shape and shape[0] == count for shape in self._shapes):
            return None
        return torch.cat([torch.arange(s[0]).repeat_interleave(torch.Size(s[1:]).numel()) for s in self._shapes])


def _signs(tensor: Tensor) -> Tensor:
    """1 for each real number of a tensor, −1 where it is an imaginary part."""
    signs = torch.ones(as_real(tensor).shape)
    if tensor.is_complex():
        signs[..., 1] = -1
    return signs.reshape(-1)
