"""The same statement in four notations, each as Python that is run: what is shown is the code that gave the number."""

import ast
import textwrap
import types
from dataclasses import dataclass

import torch
from torch import Tensor

from nets.calculus.formulas import chain_rule
from nets.calculus.jacobians import jacobians
from nets.calculus.layers import Identity, Linear
from nets.calculus.network import Network

NESTED = 10_000
"""Paths up to which the sums are written one within the other; beyond, one after the other."""

CODE_WIDTH = 72


@dataclass(frozen=True)
class Notation:
    """One way to write the derivative.

    Attributes:
        name: entry by entry, Kronecker product, vector-Jacobian product, or PyTorch.
        statement: as one writes it on paper.
        code: the expression; it follows on `Explanation.setting`.
        value: what the code gave.
    """

    name: str
    statement: str
    code: str
    value: float


@dataclass(frozen=True)
class Sought:
    """Y_k by one number of one point: parameter name or 'input', index, and the layer whose own number it is, −1 for the input."""

    name: str
    index: tuple[int, ...]
    output: int
    layer: int


def notations(network: Network, x: Tensor, sought: Sought, paths: int) -> tuple[str, tuple[Notation, ...]]:
    """The lines that all four need, and the four, executed.

    Args:
        network: in float64.
        x: one sample, shape (1, J).
        sought: which number.
        paths: how many products the sum over paths has.
    """
    setting = _setting(network, sought)
    names = {
        "network": network,
        "x": x.detach().clone(),
        "torch": torch,
        "nets": types.SimpleNamespace(jacobians=jacobians),
    }
    exec(setting, names)  # our own lines, of which only whole numbers and names of parameters vary
    written = [
        ("entry by entry", *_entry_by_entry(network, sought, paths)),
        ("matrix product" if sought.layer < 0 else "Kronecker product", *_product(network, sought)),
        ("vector-Jacobian product", *_vector_jacobian(sought)),
        ("PyTorch", *_pytorch(sought)),
    ]
    return setting, tuple(Notation(name, statement, code, _run(code, names)) for name, statement, code in written)


def _run(code: str, names: dict[str, object]) -> float:
    """The value of the last line, an expression, after the lines before it."""
    tree = ast.parse(code)
    last = tree.body.pop()
    assert isinstance(last, ast.Expr)
    scope = dict(names)
    exec(compile(tree, "<notation>", "exec"), scope)
    value = eval(compile(ast.Expression(last.value), "<notation>", "eval"), scope)
    return float(value.detach() if isinstance(value, Tensor) else value)


def _letters(sought: Sought) -> str:
    return "ij"[: len(sought.index)] if sought.layer >= 0 else "j"


def _setting(network: Network, sought: Sought) -> str:
    letters = _letters(sought)
    lines = [f"k, {', '.join(letters)} = {sought.output}, {', '.join(map(str, sought.index))}"]
    lines += ["x.requires_grad_()", "H = [h[0] for h in network.trace(x)]  # X, the output of each layer, …, Y"]
    for index in range(sought.layer + 1, len(network)):
        layer = network.layers[index]
        if isinstance(layer, Linear):
            lines.append(f"W{index} = network[{index}].weight")
        elif not isinstance(layer, Identity):
            lines.append(f"S{index} = network[{index}].slope(H[{index}], H[{index + 1}])")
    return "\n".join(lines)


def _entry_by_entry(network: Network, sought: Sought, paths: int) -> tuple[str, str]:
    own = _own(sought)
    statement = chain_rule(network, sought.layer).text + (f" {_below(sought)}_j" if len(sought.index) == 2 else "")
    after = range(len(network) - 1, sought.layer, -1)
    linear = [index for index in after if isinstance(network.layers[index], Linear)]
    bottom = "j" if sought.layer < 0 else "i"
    if paths > NESTED:
        return statement, _sums_in_turn(sought, bottom, own)
    parts, sums, unit = [] if linear else [f"(k == {bottom})"], [], "k"
    for index in after:
        layer = network.layers[index]
        if isinstance(layer, Linear):
            below = bottom if index == linear[-1] else f"m{index}"
            parts.append(f"W{index}[{unit}, {below}]")
            if below != bottom:
                sums.append(f"for {below} in range({layer.weight.shape[1]})")
            unit = below
        elif not isinstance(layer, Identity):
            parts.append(f"S{index}[{unit}]")
    product = " * ".join(parts)
    return statement, _summed(product, sums) + (f" * {own}" if own else "")


def _summed(product: str, sums: list[str]) -> str:
    """On one line, if there is room."""
    if not sums:
        return product
    line = f"sum({product} {' '.join(sums)})"
    if len(line) <= CODE_WIDTH - 12:
        return line
    wrapped = textwrap.wrap(product, CODE_WIDTH - 4, break_long_words=False, break_on_hyphens=False)
    return "\n".join(["sum(", *(f"    {part}" for part in [*wrapped, *sums]), ")"])


def _sums_in_turn(sought: Sought, bottom: str, own: str) -> str:
    return "\n".join(
        [
            "a = [float(m == k) for m in range(len(H[-1]))]",
            f"for layer in reversed(range({sought.layer + 1}, len(network))):",
            "    units = torch.eye(len(a), dtype=x.dtype)",
            "    J = network[layer].pullback(units, *H[layer : layer + 2]).tolist()",
            "    a = [sum(u * v for u, v in zip(a, column)) for column in zip(*J)]",
            f"a[{bottom}]" + (f" * {own}" if own else ""),
        ]
    )


def _product(network: Network, sought: Sought) -> tuple[str, str]:
    matrices, words = [], []
    for index in range(len(network) - 1, sought.layer, -1):
        layer = network.layers[index]
        if isinstance(layer, Linear):
            matrices.append(f"W{index}")
            words.append(f"W{index}")
        elif not isinstance(layer, Identity):
            matrices.append(f"torch.diag(S{index})")
            words.append(f"diag S{index}")
    if len(words) > 8:
        words = [*words[:3], "…", *words[-2:]]
    matrices = matrices or ["torch.eye(len(H[-1]), dtype=x.dtype)"]
    lines = [f"A = {' @ '.join(matrices[:3])}"]
    lines += [f"A = A @ {' @ '.join(matrices[start : start + 3])}" for start in range(3, len(matrices), 3)]
    in_words, below = " ".join(words) or "1", f"H[{sought.layer}]"
    if sought.layer < 0:
        return f"∂Y/∂X = A = {in_words}", "\n".join([*lines, "A[k, j]"])
    if len(sought.index) == 1:
        return f"∂Y/∂B = A ⊗ 1, A = {in_words}", "\n".join([*lines, "A[k, i]"])
    last = f"torch.kron(A[k], {below})[i * len({below}) + j]"
    return f"∂Y/∂vec W = A ⊗ {_below(sought)}ᵀ, A = {in_words}", "\n".join([*lines, last])


def _vector_jacobian(sought: Sought) -> tuple[str, str]:
    point = {"weight": "W", "bias": "B"}.get(sought.name.rpartition(".")[2], "X")
    index = "0, j" if sought.layer < 0 else ", ".join(_letters(sought))
    lines = [
        "v = torch.zeros(1, len(H[-1]), dtype=x.dtype)",
        "v[0, k] = 1",
        f'nets.jacobians(network, x)["{sought.name}"].vjp(v)[{index}]',
    ]
    return f"vᵀ ∂Y/∂{point} with v = e_k", "\n".join(lines)


def _pytorch(sought: Sought) -> tuple[str, str]:
    layer, _, leaf = sought.name.partition(".")
    point = "x" if sought.layer < 0 else f"network[{layer}].{leaf}"
    index = "0, j" if sought.layer < 0 else ", ".join(_letters(sought))
    return "Y_k.backward(), then .grad", f"torch.autograd.grad(network(x)[0, k], {point})[0][{index}]"


def _own(sought: Sought) -> str:
    """The last factor, which the layer multiplies its own number by."""
    return f"H[{sought.layer}][j]" if len(sought.index) == 2 and sought.layer >= 0 else ""


def _below(sought: Sought) -> str:
    return "X" if sought.layer == 0 else f"H{sought.layer}"
