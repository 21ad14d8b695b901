"""Stochastic rounding of a loop: of what stands in its graphs, and not of what it does with gradients afterwards."""

from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from nets.verification.noise.rounding import StochasticRounding


class Rounding(StochasticRounding):
    """Stochastic rounding that leaves copies as they are: nothing is rounded where a tensor is cloned."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not self.rounds(func, args):
            return func(*args, **(kwargs or {}))
        return super().__torch_dispatch__(func, types, args, kwargs)

    def rounds(self, func: Any, args: Any) -> bool:
        """Whether results of this operation are moved."""
        return func.overloadpacket is not torch.ops.aten.clone


class GraphRounding(Rounding):
    """The same for operations of the forward pass that are recorded, and for those of a backward pass. A loop may compute its loss
    in float32, and its gradient is then as good as that; one that rounds the gradients themselves is not excused."""

    def rounds(self, func: Any, args: Any) -> bool:
        if not super().rounds(func, args):
            return False
        recorded = any(isinstance(leaf, Tensor) and leaf.requires_grad for leaf in pytree.tree_leaves(args))
        return recorded or torch._C._current_graph_task_id() != -1
