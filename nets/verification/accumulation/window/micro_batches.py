"""Micro-batches: pairs of input and target, how they are copied, how the module is called with them, and their
sizes."""

import inspect
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from nets.errors import InputError
from nets.torch_internals import pytree
from nets.verification.problem.copies import copied_input

Pair: TypeAlias = tuple[Any, Any]
"""(input, target)"""


def copied_pair(number: int, given: Any) -> Pair:
    """A micro-batch in double precision on the CPU.

    Args:
        number: of the micro-batch, from 1.
        given: what the caller gave for it.

    Raises:
        InputError: unless it is a pair of an input and a target, each with a tensor in it.
    """
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise InputError(f"micro-batch {number} is {_kind(given)}; expected a pair, (input, target).")
    for part in given:
        if not any(isinstance(leaf, Tensor) and leaf.ndim for leaf in pytree.tree_leaves(part)):
            raise InputError(
                f"micro-batch {number} contains {_kind(part)}; expected tensors with the samples along the first axis."
            )

    def copied(leaf: Any) -> Any:
        twin = copied_input(f"micro-batch {number}", leaf, torch.float64)
        return twin.requires_grad_(leaf.requires_grad) if isinstance(leaf, Tensor) else twin

    return pytree.tree_map(copied, given[0]), pytree.tree_map(copied, given[1])


def cloned(tree: Any) -> Any:
    """The same nested structure with copies of the tensors."""

    def clone(leaf: Any) -> Any:
        return leaf.detach().clone().requires_grad_(leaf.requires_grad) if isinstance(leaf, Tensor) else leaf

    return pytree.tree_map(clone, tree)


def call_module(module: nn.Module, given: Any, single: bool) -> Any:
    """`module(*given)` for a tuple or list, `module(**given)` for a dict of names, `module(given)` otherwise or where
    it is `single`."""
    if not single and isinstance(given, tuple | list):
        return module(*given)
    if not single and isinstance(given, dict) and all(isinstance(name, str) for name in given):
        return module(**given)
    return module(given)


def is_single_argument(module: nn.Module, pairs: list[Pair]) -> bool:
    """Whether an input that is a list or tuple is one argument of the module, such as a list of images.

    It is one argument if its length varies, if the module does not take that many arguments, or if it is a
    PackedSequence, which is a tuple.
    """
    inputs = [given for given, _ in pairs]
    if any(isinstance(given, PackedSequence) for given in inputs):
        return True
    if not all(isinstance(given, tuple | list) for given in inputs):
        return False
    return len({len(given) for given in inputs}) > 1 or not _takes(module, len(inputs[0]))


def sample_count(given: Any, single: bool) -> int:
    """N_m: the length of the first axis of the first tensor, or of a list that is one argument."""
    if single and isinstance(given, list):
        return len(given)
    if isinstance(given, PackedSequence):
        return int(given.batch_sizes[0])
    return next(len(leaf) for leaf in pytree.tree_leaves(given) if isinstance(leaf, Tensor) and leaf.ndim)


def _takes(module: nn.Module, count: int) -> bool:
    try:
        inspect.signature(module.forward).bind(*range(count))
    except TypeError:
        return False
    except ValueError:  # its signature is not known
        return True
    return True


def _kind(given: Any) -> str:
    return f"a {type(given).__name__}" + (f" of {len(given)}" if isinstance(given, tuple | list) else "")
