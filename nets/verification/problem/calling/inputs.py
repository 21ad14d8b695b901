"""The arguments of a module: copied, named, and put together for each call."""

from typing import Any

import torch
from torch import Tensor

from nets.torch_internals import pytree
from nets.verification.problem.copies import copied_input
from nets.verification.problem.pytree import as_real, differentiable, input_names
from nets.verification.problem.strides import Layouts


class Inputs:
    """Copies of the arguments of a module, as a list of leaves.

    Attributes:
        names: of the leaves: 'input', or 'input[0]', 'input[1]', … where there are several.
        leaves: copies of the tensors, and everything else as it is.
        indices: name → index among the leaves, for those that are differentiated: the leaves that require a gradient,
            or, if none does, all that hold floating-point or complex numbers.
        required: whether the caller asked for a gradient of some of them.
        tracked: whether the module has to be called with inputs that require a gradient.
        layouts: the memory layouts of the tensors.

    Args:
        inputs: tensors, or nested lists, tuples and dicts of them.
        dtype: the precision of the copies; None to leave it as it is.
    """

    def __init__(self, inputs: tuple[Any, ...], dtype: torch.dtype | None) -> None:
        found, self._structure = pytree.tree_flatten_with_path(inputs)
        self._all_tensors = all(isinstance(x, Tensor) for x in inputs)
        self.names = input_names([path for path, _ in found])
        given = {name: leaf for name, (_, leaf) in zip(self.names, found, strict=True)}
        tensors = {name: leaf for name, leaf in given.items() if isinstance(leaf, Tensor)}
        self.leaves = [copied_input(name, leaf, dtype) for name, leaf in given.items()]
        self.required, self.tracked = any(x.requires_grad for x in tensors.values()), False
        chosen = {n for n, x in tensors.items() if (x.requires_grad if self.required else differentiable(x))}
        self.indices = {name: i for i, name in enumerate(self.names) if name in chosen}
        self.layouts = Layouts(tensors)

    @property
    def points(self) -> dict[str, Tensor]:
        """Name → the real numbers of each input that is differentiated, in the memory of its leaf."""
        return {name: as_real(self.leaves[i]) for name, i in self.indices.items()}

    @property
    def samples(self) -> int:
        """N, the size of the first axis of the first tensor that has one; 1 where none has."""
        return next((len(x) for x in self.leaves if isinstance(x, Tensor) and x.ndim), 1)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name → shape of each tensor, a complex number counted as two real ones."""
        named = zip(self.names, self.leaves, strict=True)
        return {name: tuple(as_real(leaf).shape) for name, leaf in named if isinstance(leaf, Tensor)}

    def arguments(self, leaves: list[Any]) -> Any:
        """What to call the module with: copies of these leaves, since a module may write to what it is given."""
        copies = [self._copy(name, leaf) for name, leaf in zip(self.names, leaves, strict=True)]
        for i in self.indices.values() if self.tracked else ():
            copies[i] = copies[i] if copies[i].requires_grad else copies[i].requires_grad_()
        return copies if self._all_tensors else pytree.tree_unflatten(copies, self._structure)

    def _copy(self, name: str, leaf: Any) -> Any:
        laid = self.layouts.apply(name, leaf)
        return laid.clone() if laid is leaf and isinstance(leaf, Tensor) else laid
