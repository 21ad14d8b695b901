"""Stochastic rounding that leaves some operations exact: copies, and what a loop does with gradients outside its
graphs."""

from typing import Any

import torch
from torch import Tensor

from nets.torch_internals import in_backward, pytree
from nets.verification.noise.rounding import StochasticRounding


class RoundingExceptClones(StochasticRounding):
    """Stochastic rounding of every operation except `clone`, since micro-batches are cloned before each call."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not self.rounds(func, args):
            return func(*args, **(kwargs or {}))
        return super().__torch_dispatch__(func, types, args, kwargs)

    def rounds(self, func: Any, args: Any) -> bool:
        """Whether results of this operation are rounded at random."""
        return func.overloadpacket is not torch.ops.aten.clone


class GraphRounding(RoundingExceptClones):
    """Stochastic rounding of operations that autograd records, and of those in a backward pass.

    A loop may compute its loss in float32; its gradient then has the precision of float32. A loop that rounds the
    gradients themselves is wrong, so operations on gradients outside a backward pass stay exact.
    """

    def rounds(self, func: Any, args: Any) -> bool:
        if not super().rounds(func, args):
            return False
        recorded = any(isinstance(leaf, Tensor) and leaf.requires_grad for leaf in pytree.tree_leaves(args))
        return recorded or in_backward()
