"""The private names of PyTorch that `nets` uses: all of them stand here, and nothing else imports one.

PyTorch may change a private name in any release. Each function looks its name up when it is called, and takes a public
fallback where the installed release lacks it: the fallback is slower, or leaves out a check, and never gives a wrong
result. `pytree` and `TorchDispatchMode` have no public equivalent; both exist since PyTorch 2.0.
"""

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, wraps
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _python_dispatch as python_dispatch
from torch.utils import _pytree as pytree

__all__ = ["pytree"]


class TorchDispatchMode(python_dispatch.TorchDispatchMode):
    """PyTorch's own mode loads the compiler, in a second and 70 MB, to keep it away from `__torch_dispatch__`. This one
    keeps it away once something else has loaded it."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()  # type: ignore[no-untyped-call]
        if "__torch_dispatch__" in vars(cls):
            cls.__torch_dispatch__ = _not_compiled(cls.__torch_dispatch__)  # type: ignore[method-assign]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False


def _not_compiled(dispatch: Callable[..., Any]) -> Callable[..., Any]:
    disabled = cache(lambda disable: disable(dispatch))

    @wraps(dispatch)
    def called(*args: Any, **kwargs: Any) -> Any:
        disable = getattr(sys.modules.get("torch._dynamo"), "disable", None)
        return (dispatch if disable is None else disabled(disable))(*args, **kwargs)

    return called


@cache
def _private(module: str, name: str) -> Any:
    """The attribute `name` of a module of PyTorch's, or None where this release has none."""
    found = sys.modules.get(module)  # import_module takes a microsecond even for a module that is loaded
    if found is None:
        try:
            found = importlib.import_module(module)
        except ImportError:
            return None
    return getattr(found, name, None)


# Operators.


def operators(names: str) -> frozenset[Any]:
    """The operators of PyTorch's with these names, as far as this release has them: 'cholesky' went in 2.14."""
    found = (getattr(torch.ops.aten, name, None) for name in names.split())
    return frozenset(operator for operator in found if operator is not None)


@cache
def schema(operator: Any) -> Any:
    """The schema of an operator that a dispatch mode was given."""
    return operator._schema


@cache
def returns_alias(operator: Any) -> bool:
    """Whether an operator returns a view of an argument, or an argument that it has written to."""
    return any(value.alias_info is not None for value in schema(operator).returns)


def control_flow_kernel(operator: Any) -> Callable[..., Any] | None:
    """The kernel of torch.cond, scan, while_loop and their like that calls their functions as ordinary Python.

    None for every other operator. Fallback: None, so that a dispatch mode sees the operator as one call.
    """
    kind, key = _private("torch._ops", "HigherOrderOperator"), _dispatch_key("CompositeExplicitAutograd")
    if kind is None or key is None or not isinstance(operator, kind):
        return None
    return getattr(operator, "py_kernels", {}).get(key)


def without_dispatch_modes() -> contextlib.AbstractContextManager[Any]:
    """Switch all dispatch modes off. Fallback: leave them on."""
    switch = _private("torch.utils._python_dispatch", "_disable_current_modes")
    return contextlib.nullcontext() if switch is None else switch()


@contextlib.contextmanager
def lazy_conjugation() -> Iterator[None]:
    """Let operators beneath a dispatch mode conjugate lazily.

    PyTorch switches that off there. Some operators, such as `linalg.pinv`, call others with lazily conjugated numbers,
    which then give wrong results. Fallback: none of it is switched on.
    """
    guard = _private("torch._C", "_SetExcludeDispatchKeyGuard")
    keys = [key for key in map(_dispatch_key, ("Conjugate", "Negative")) if key is not None]
    with contextlib.ExitStack() as stack:
        for key in keys if guard is not None else ():
            stack.enter_context(guard(key, False))
        yield


def _dispatch_key(name: str) -> Any:
    return getattr(_private("torch._C", "DispatchKey"), name, None)


def custom_operators() -> list[Any]:
    """Every operator that `torch.library.custom_op` has made. Fallback: none."""
    return list((_private("torch._library.custom_ops", "OPDEFS") or {}).values())


def operators_with_vmap_rule() -> dict[str, str]:
    """The Function that PyTorch generates for an operator of `torch.library.custom_op` → the operator, by their names.

    Operators without a vmap rule of their own are left out.
    """
    with_rule = (operator for operator in custom_operators() if getattr(operator, "_vmap_fn", None))
    return {f"GeneratedBackwardFor_{o._namespace}_{o._name}_default": o._qualname for o in with_rule}


@contextlib.contextmanager
def no_vmap_warnings() -> Iterator[None]:
    """Silence the warnings about slow vmap rules, which C++ writes past Python's filters. Fallback: they are shown."""
    switch = _private("torch._C._functorch", "_set_vmap_fallback_warning_enabled")
    if switch is None:
        yield
        return
    switch(False)
    try:
        yield
    finally:
        switch(True)


# The compiler.


def has_compiled() -> bool:
    """Whether `torch.compile` may have compiled anything in this process: its module is loaded."""
    return "torch._dynamo" in sys.modules


def is_compiler_error(error: Exception) -> bool:
    """Whether an error comes from `torch.compile`. Fallback: every error of a process that has compiled something."""
    kind = _private("torch._dynamo.exc", "TorchDynamoException") if has_compiled() else None
    return has_compiled() if kind is None else isinstance(error, kind)


# Tensors and graphs.


def memory(tensor: Tensor) -> int:
    """A number for the memory of a tensor, which its views share. Fallback: its address, as for all empty tensors."""
    storage = tensor.untyped_storage()
    return getattr(storage, "_cdata", None) or storage.data_ptr()


def address(tensor: Tensor) -> int | None:
    """Where the numbers of a tensor begin; None for one without numbers of its own, as in a function transform."""
    try:
        return tensor.data_ptr()
    except RuntimeError:
        return None


def is_view(tensor: Tensor) -> bool:
    """Whether a tensor is a view of another one."""
    return tensor._base is not None


def version_of(tensor: Tensor) -> int:
    """The number of writes to the memory of a tensor, which autograd counts."""
    return tensor._version


def in_backward() -> bool:
    """Whether this thread is in a backward pass. Fallback: False."""
    current = _private("torch._C", "_current_graph_task_id")
    return current is not None and current() != -1


def has_no_numbers(tensor: Tensor) -> bool:
    """Whether a tensor has a shape and a type alone: a meta, fake or zero tensor, which autograd uses for shapes."""
    fake = _private("torch._subclasses.fake_tensor", "is_fake")
    return tensor.is_meta or tensor._is_zerotensor() or (fake is not None and fake(tensor))


def gradient_hooks(tensor: Tensor) -> list[Callable[..., Any]]:
    """The hooks of `tensor.register_hook`."""
    return list((tensor._backward_hooks or {}).values())


def hook_tables(tensor: Tensor) -> list[dict[int, Any]]:
    """The tables in which a tensor keeps its hooks, as far as it has any. Writing to one changes the hooks."""
    return [table for table in (tensor._backward_hooks, accumulation_hook_table(tensor)) if table]


def accumulation_hook_table(tensor: Tensor) -> dict[int, Any]:
    """The table of the hooks of `tensor.register_post_accumulate_grad_hook`; empty where there are none."""
    return getattr(tensor, "_post_accumulate_grad_hooks", None) or {}


def function_of(node: Any) -> type | None:
    """The `torch.autograd.Function` whose backward a node of a graph is; None for PyTorch's own nodes."""
    return getattr(node, "_forward_cls", None)


def custom_function(node: Any) -> Any:
    """The `torch.autograd.Function` whose backward a node is, unless PyTorch defines it; None for every other node.

    The Functions that torch.library makes for the caller's operators count as the caller's.
    """
    function = function_of(node)
    if function is None:
        return None
    package, _, rest = function.__module__.partition(".")
    return None if package == "torch" and rest.partition(".")[0] != "_library" else function


# Modules.

MODULE_TABLES = ("_parameters", "_buffers", "_modules")
"""The attributes in which a module keeps its parameters, buffers and children, by name."""

MODULE_HOOKS = (
    "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks", "_state_dict_hooks",
    "_state_dict_pre_hooks", "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks",
)  # fmt: skip
"""The attributes in which a module keeps its hooks."""


def module_tables(module: nn.Module) -> dict[str, dict[str, Any]]:
    """The tables of a module's own parameters, buffers and children, under the names of `MODULE_TABLES`."""
    return {name: vars(module)[name] for name in MODULE_TABLES}


def module_hooks(module: nn.Module) -> list[Callable[..., Any]]:
    """Every hook of a module."""
    return [hook for name in MODULE_HOOKS for hook in vars(module).get(name, {}).values()]


def forward_hooks(module: nn.Module) -> tuple[Mapping[int, Any], Mapping[int, Any]]:
    """The tables of the hooks that a call of the module runs, after and before its forward."""
    return module._forward_hooks, module._forward_pre_hooks


def is_compiled(module: nn.Module) -> bool:
    """Whether `module.compile()` was called. Fallback: False."""
    return getattr(module, "_compiled_call_impl", None) is not None


def own_parameters(module: nn.Module) -> dict[str, nn.Parameter | None]:
    """The table of a module's own parameters, without those of its children. Writing to it replaces a parameter."""
    return module._parameters


def own_buffers(module: nn.Module) -> dict[str, Tensor | None]:
    """The table of a module's own buffers, without those of its children. Writing to it replaces a buffer."""
    return module._buffers


def own_modules(module: nn.Module) -> dict[str, nn.Module | None]:
    """The table of a module's children. Writing to it replaces one."""
    return module._modules


# Many tensors at once.


def norms(tensors: Sequence[Tensor], dtype: torch.dtype) -> Sequence[Tensor]:
    """‖t‖ of each tensor, in one call. Fallback: one call for each."""
    found = _private("torch", "_foreach_norm")
    return found(tensors, 2, dtype) if found else [torch.linalg.vector_norm(t, dtype=dtype) for t in tensors]


def zero(tensors: Sequence[Tensor]) -> None:
    """t ← 0 for each tensor, in one call. Fallback: one call for each."""
    _each("_foreach_zero_", Tensor.zero_, tensors)


def add(tensors: Sequence[Tensor], others: Sequence[Tensor], alpha: float) -> None:
    """t ← t + α u for each pair, in one call. Fallback: one call for each."""
    _each("_foreach_add_", Tensor.add_, tensors, others, alpha=alpha)


def copy(tensors: Sequence[Tensor], others: Sequence[Tensor]) -> None:
    """t ← u for each pair, in one call. Fallback: one call for each."""
    _each("_foreach_copy_", Tensor.copy_, tensors, others)


def _each(name: str, method: Callable[..., Tensor], *tensors: Sequence[Tensor], **settings: float) -> None:
    found = _private("torch", name)
    if found is not None:
        return found(*tensors, **settings)
    for one in zip(*tensors, strict=True):
        method(*one, **settings)


def scaled(tensors: Sequence[Tensor], factor: float | Tensor) -> list[Tensor]:
    """α t of each tensor, in one call. Fallback, and where α is a tensor with one number: one call for each."""
    found = _private("torch", "_foreach_mul")
    if found is None or isinstance(factor, Tensor):
        return [t * factor for t in tensors]
    return list(found(tensors, factor))


def fused(optimizer: str) -> Callable[..., None] | None:
    """The kernel of `torch.optim` with fused=True: 'sgd', 'adam', 'adagrad'. It updates θ in place. Fallback: None."""
    return getattr(torch, f"_fused_{optimizer}_", None)
