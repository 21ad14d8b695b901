"""Five engines that pull a cotangent back through the same function: v → Σ v ∂y/∂x, for each argument x.

PyTorch, TensorFlow and JAX do this without forming a Jacobian. NumPy by hand and SymPy form it, and multiply: vᵀJ.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from nets.errors import InputError
from nets.lessons.function import Function
from nets.verification.derivations.engines import available, mathematics
from nets.verification.derivations.engines.jax_grad import in_double
from nets.verification.derivations.engines.loading import load_package
from nets.verification.derivations.engines.reading import Array, OutOfReachError


@dataclass(frozen=True)
class Found:
    """The result of one engine.

    Attributes:
        y: f(x).
        gradients: Σ v ∂y/∂x for each argument, in its shape.
    """

    y: Array
    gradients: tuple[Array, ...]


Engine = Callable[[Function, Sequence[Array], Array | None], Found]
"""(f, its arguments, v) → Found, in float64; v = None means ones. Raises OutOfReachError if the engine cannot derive
f."""


def pytorch(function: Function, at: Sequence[Array], v: Array | None) -> Found:
    """`y.backward(v)`, which leaves the gradients in `x.grad`."""
    leaves = [torch.tensor(point, requires_grad=True) for point in at]
    y = function(*leaves)
    y.backward(torch.ones_like(y) if v is None else torch.as_tensor(v))
    return Found(y.detach().numpy(), tuple(leaf.grad.numpy() for leaf in leaves if leaf.grad is not None))


def numpy_by_hand(function: Function, at: Sequence[Array], v: Array | None) -> Found:
    """vᵀJ, with the Jacobian that is written in the function."""
    jacobian = function.jacobian(*at)
    return _multiplied(np.asarray(function.forward(mathematics.NUMPY, *at)), jacobian, v)


def sympy(function: Function, at: Sequence[Array], v: Array | None) -> Found:
    """vᵀJ: every entry of y is differentiated by every symbol, and then evaluated."""
    y, jacobian, symbols = symbolic(function, *(point.shape for point in at))
    numbers = dict(
        zip(np.concatenate([s.ravel() for s in symbols]), np.concatenate([p.ravel() for p in at]), strict=True)
    )
    value = np.vectorize(lambda expression: float(expression.subs(numbers).evalf(30)), otypes=[float])
    return _multiplied(value(y), tuple(value(block) for block in jacobian), v)


def symbolic(function: Function, *shapes: tuple[int, ...]) -> tuple[Any, tuple[Any, ...], tuple[Any, ...]]:
    """(y, ∂y/∂x for each argument, the symbols), as NumPy arrays of SymPy expressions.

    Args:
        function: made of operations that SymPy has.
        shapes: of each argument; () for a number.

    Raises:
        OutOfReachError: for a function whose control flow depends on numbers, which symbols do not have.
    """
    sp = load_package("sympy")
    symbols = tuple(_symbols(sp, name, shape) for name, shape in zip(function.arguments, shapes, strict=True))
    try:
        y = np.asarray(function.forward(mathematics.sympy(), *symbols))
    except TypeError as error:
        if "truth value" not in str(error):
            raise
        raise OutOfReachError("its control flow depends on numbers, and a symbol has none.") from error
    blocks = (
        np.array([sp.diff(i, j) for i in y.flat for j in x.flat], object).reshape(y.shape + x.shape) for x in symbols
    )
    return y, tuple(blocks), symbols


def tensorflow(function: Function, at: Sequence[Array], v: Array | None) -> Found:
    """`tape.gradient(y, x, output_gradients=v)`."""
    tf, m = load_package("tensorflow"), mathematics.tensorflow()
    with tf.device("/CPU:0"):
        points = [tf.constant(point) for point in at]
        with tf.GradientTape() as tape:
            tape.watch(points)
            y = function.forward(m, *points)
        gradients = tape.gradient(y, points, output_gradients=None if v is None else tf.constant(v))
        return Found(y.numpy(), tuple(gradient.numpy() for gradient in gradients))


def jax(function: Function, at: Sequence[Array], v: Array | None) -> Found:
    """`y, pullback = jax.vjp(f, x)`, then `pullback(v)`."""
    j, m = load_package("jax"), mathematics.jax()
    with in_double(j):
        y, pullback = j.vjp(lambda *x: function.forward(m, *x), *map(j.numpy.asarray, at))
        gradients = pullback(j.numpy.ones_like(y) if v is None else j.numpy.asarray(v))
        return Found(np.array(y), tuple(map(np.array, gradients)))


ENGINES: dict[str, Engine] = {
    "PyTorch": pytorch,
    "NumPy by hand": numpy_by_hand,
    "SymPy": sympy,
    "TensorFlow": tensorflow,
    "JAX": jax,
}


def installed() -> dict[str, Engine]:
    """Those of ENGINES whose package is installed: TensorFlow and JAX come with the extra 'oracles'."""
    return {name: engine for name, engine in ENGINES.items() if name == "PyTorch" or name in available()}


def vjp(engine: str, function: Function, *at: ArrayLike, v: ArrayLike | None = None) -> Found:
    """One engine's y = f(x) and Σ v ∂y/∂x.

    Args:
        engine: 'PyTorch', 'NumPy by hand', 'SymPy', 'TensorFlow' or 'JAX'.
        function: of `nets.lessons`.
        at: its arguments.
        v: the cotangent, in the shape of y; ones if not given, for Σ_i ∂y_i/∂x.

    Raises:
        InputError: for an engine that is unknown or not installed, a wrong number of arguments, or a v of another shape
            than y.
        OutOfReachError: if the engine cannot derive this function.
    """
    if engine not in ENGINES:
        raise InputError(f"the engine is '{engine}'; expected one of {', '.join(ENGINES)}.")
    if engine not in installed():
        raise InputError(f"{engine} is not installed; expected the extra 'oracles': pip install '.[oracles]'.")
    if len(at) != len(function.arguments):
        raise InputError(
            f"{function} was given {len(at)} arguments; expected {len(function.arguments)}: "
            f"{', '.join(function.arguments)}."
        )
    points = [np.array(point, dtype=np.float64) for point in at]
    if v is None:
        return ENGINES[engine](function, points, None)
    cotangent, shape = np.array(v, dtype=np.float64), tuple(function(*map(torch.tensor, points)).shape)
    if cotangent.shape != shape:
        raise InputError(
            f"v has the shape {cotangent.shape}; expected {shape}, one weight for each number of {function}."
        )
    return ENGINES[engine](function, points, cotangent)


def jacobian(engine: str, function: Function, *at: ArrayLike) -> tuple[Array, ...]:
    """One engine's ∂y/∂x for each argument, shape (*y.shape, *x.shape), a row for each unit cotangent. Arguments as for
    `vjp`."""
    y = vjp(engine, function, *at).y
    rows = [vjp(engine, function, *at, v=unit.reshape(y.shape)).gradients for unit in np.eye(y.size)]
    return tuple(np.stack(block).reshape(y.shape + block[0].shape) for block in zip(*rows, strict=True))


def _multiplied(y: Array, jacobian: tuple[Array, ...], v: Array | None) -> Found:
    """vᵀJ: Σ v_i ∂y_i/∂x_j over all axes of y."""
    v = np.ones_like(y) if v is None else v
    return Found(y, tuple(np.tensordot(v, block, y.ndim) for block in jacobian))


def _symbols(sp: Any, name: str, shape: tuple[int, ...]) -> Any:
    """x, or x_1, x_2, …, or X_11, X_12, …"""
    symbols = [sp.Symbol(name + "".join(f"_{i + 1}" for i in index), real=True) for index in np.ndindex(*shape)]
    return np.array(symbols, dtype=object).reshape(shape)
