"""torch.cond, scan, while_loop and their like, run as ordinary Python while a dispatch mode is active.

They are operators that take functions. A dispatch mode sees such an operator as one call, and its derivative is made by tracing,
which fails beneath a mode. But each of them has a kernel that just calls its functions. Run by that, the operations in these
functions come to the mode one by one, as in a branch or a loop of Python's, and are recorded for the backward pass as well.
"""

import contextlib
import sys
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch._ops import HigherOrderOperator
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

KERNEL = torch._C.DispatchKey.CompositeExplicitAutograd
"""Under which an operator keeps the kernel that calls its functions."""


def called(module: Callable[..., Any], arguments: Iterable[Any]) -> Any:
    """The module's output. Where PyTorch's compiler, which these operators use, fails on what it keeps of earlier calls, it forgets
    that and tries again: calls under vmap or with dual numbers may leave what no longer fits."""
    given = list(arguments)
    try:
        return module(*given)
    except RuntimeError as error:
        if "torch._dynamo" not in sys.modules or not isinstance(error, torch._dynamo.exc.TorchDynamoException):
            raise
    torch._dynamo.reset()
    return module(*given)


class OrdinaryControlFlow(TorchFunctionMode):
    """While active together with a dispatch mode, operators that take functions are run by the kernel that calls these.

    Args:
        mode: the dispatch mode, active in the functions.
    """

    def __init__(self, mode: TorchDispatchMode) -> None:
        super().__init__()
        self.mode = mode
        # One for each time that it has been entered: a function within a function enters it again.
        self._stances: list[Any] = []

    def __enter__(self) -> "OrdinaryControlFlow":
        # They compile what they are given, which a mode cannot follow. What has not been imported yet has compiled nothing.
        compiled = "torch._dynamo" in sys.modules
        self._stances.append(torch.compiler.set_stance("force_eager") if compiled else contextlib.nullcontext())
        self._stances[-1].__enter__()
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        self._stances.pop().__exit__(*error)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not isinstance(func, HigherOrderOperator) or KERNEL not in func.py_kernels:
            return func(*args, **(kwargs or {}))
        with _disable_current_modes():
            given = [self._followed(arg) for arg in args]
            return func.py_kernels[KERNEL](*given, **{key: self._followed(arg) for key, arg in (kwargs or {}).items()})

    def _followed(self, argument: Any) -> Any:
        """A function with both modes active in it; anything else as it is."""
        if not callable(argument):
            return argument
        function: Callable[..., Any] = argument

        def followed(*args: Any) -> Any:
            with self.mode:
                return function(*args)

        return followed
