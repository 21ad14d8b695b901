"""torch.cond, scan, while_loop and their like, run as ordinary Python while a dispatch mode is active.

They are operators that take functions. A dispatch mode sees such an operator as one call, and its derivative is made by
tracing, which fails beneath a mode. But each of them has a kernel that just calls its functions. Run by that kernel,
the operations in these functions reach the mode one by one, as in a branch or a loop of Python, and are recorded for
the backward pass as well.
"""

import contextlib
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from nets.torch_internals import (
    TorchDispatchMode,
    control_flow_kernel,
    has_compiled,
    is_compiler_error,
    without_dispatch_modes,
)  # fmt: skip


def called(module: Callable[..., Any], arguments: Iterable[Any]) -> Any:
    """`module(*arguments)`; tried again with an empty cache where PyTorch's compiler, which these operators use, fails
    on its cache.

    Calls under vmap or with dual numbers may leave cached code that no longer fits.
    """
    given = list(arguments)
    try:
        return module(*given)
    except RuntimeError as error:
        if not is_compiler_error(error):
            raise
    torch.compiler.reset()
    return module(*given)


class OrdinaryControlFlow(TorchFunctionMode):
    """While active together with a dispatch mode, operators that take functions run by the kernel that calls these
    functions.

    Args:
        mode: the dispatch mode, active in the functions.
    """

    def __init__(self, mode: TorchDispatchMode) -> None:
        super().__init__()
        self.mode = mode
        # One for each entry: a function within a function enters the mode again.
        self._stances: list[Any] = []

    def __enter__(self) -> "OrdinaryControlFlow":
        # These operators compile their functions, which a mode cannot follow. If the compiler is not imported, nothing
        # is compiled.
        self._stances.append(torch.compiler.set_stance("force_eager") if has_compiled() else contextlib.nullcontext())
        self._stances[-1].__enter__()
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        self._stances.pop().__exit__(*error)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kernel = control_flow_kernel(func)
        if kernel is None:
            return func(*args, **(kwargs or {}))
        with without_dispatch_modes():
            given = [self._with_mode(arg) for arg in args]
            return kernel(*given, **{key: self._with_mode(arg) for key, arg in (kwargs or {}).items()})

    def _with_mode(self, argument: Any) -> Any:
        """A function with both modes active in it; anything else as it is."""
        if not callable(argument):
            return argument
        function: Callable[..., Any] = argument

        def followed(*args: Any) -> Any:
            with self.mode:
                return function(*args)

        return followed
