"""∂Y_k/∂θ in four notations, each as Python that is executed: the code that is shown gave the number beside it."""

import ast
import textwrap
import types
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nets.calculus.formulas import chain_rule, formulas
from nets.calculus.jacobians import jacobians
from nets.explanation.explain.layer_code import LocalCode, PointCode, local_jacobian_code, point_code
from nets.explanation.explain.partial_derivative import PartialDerivative

MAX_NESTED = 10_000
"""Paths up to which the sums stand one within the other; of more paths, the code sums layer by layer."""

CODE_WIDTH = 72
MAX_MATRICES = 8
"""Matrices of a product that are named one by one."""


@dataclass(frozen=True)
class Notation:
    """One notation of the derivative.

    Attributes:
        name: entry by entry, Kronecker product, vector-Jacobian product, or PyTorch.
        statement: the formula.
        code: Python that follows on `Explanation.setting`; its last line is the expression.
        value: the result of the code.
    """

    name: str
    statement: str
    code: str
    value: float


def notations(partial: PartialDerivative, paths: int) -> tuple[str, tuple[Notation, ...]]:
    """The lines that all four notations need, and the four, executed.

    Args:
        partial: the derivative.
        paths: the number of paths, which is the number of products that a sum over all indices has.
    """
    own = point_code(partial)
    setting = _setting(partial, own)
    names = {
        "network": partial.network,
        "x": partial.x.detach().clone(),
        "torch": torch,
        "nets": types.SimpleNamespace(jacobians=jacobians),
    }
    exec(setting, names)  # only whole numbers and names of parameters vary in these lines
    found = [
        ("entry by entry", *_entry_by_entry(partial, own, paths)),
        ("Kronecker product" if own.kronecker else "matrix product", *_matrix_product(partial, own)),
        ("vector-Jacobian product", *_vector_jacobian_product(partial, own)),
        ("PyTorch", *_pytorch(partial, own)),
    ]
    if "." in partial.parameter:  # a long name would leave no room in the table
        written = (f"{partial.name}_{''.join(own.letters)}", f"∂{own.entry}", f"∂{own.symbol}")
        found = [(name, _with_theta(statement, written), code) for name, statement, code in found]
    return setting, tuple(Notation(name, statement, code, run(code, names)) for name, statement, code in found)


def _with_theta(statement: str, written: Sequence[str]) -> str:
    """The statement with θ in place of each of these texts; a text that begins with ∂ keeps it."""
    for text in written:
        statement = statement.replace(text, "∂θ" if text.startswith("∂") else "θ")
    return statement


def run(code: str, names: dict[str, object]) -> float:
    """The value of the last line, an expression, after the lines before it."""
    tree = ast.parse(code)
    last = tree.body.pop()
    assert isinstance(last, ast.Expr)
    scope = dict(names)
    exec(compile(tree, "<notation>", "exec"), scope)
    value = eval(compile(ast.Expression(last.value), "<notation>", "eval"), scope)
    return float(value.detach() if isinstance(value, Tensor) else value)


def _setting(partial: PartialDerivative, own: PointCode) -> str:
    letters, numbers = ["k", *own.letters], [partial.output, *own.index]
    lines = [
        f"{', '.join(letters)} = {', '.join(map(str, numbers))}",
        *(["x.requires_grad_()"] if partial.x.is_floating_point() else []),
        "H = [h[0] for h in network.trace(x)]  # X, the output of each layer, …, Y",
    ]
    codes = reversed(_codes(partial))
    return "\n".join(
        [*lines, *(f"{code.name} = {code.expression}" for code in codes if not code.identity), *own.setting]
    )


def _later_layers(partial: PartialDerivative) -> list[int]:
    """The layers after θ, last to first."""
    return list(reversed(range(partial.layer + 1, len(partial.network))))


def _codes(partial: PartialDerivative) -> list[LocalCode]:
    layers, places = partial.network.layers, partial.places
    return [local_jacobian_code(layers[index], places[index]) for index in _later_layers(partial)]


def _entry_by_entry(partial: PartialDerivative, own: PointCode, paths: int) -> tuple[str, str]:
    if paths > MAX_NESTED:
        return _statement(partial, own), _layer_by_layer(partial, own)
    layers = partial.network.layers
    dense = [index for index in _later_layers(partial) if not layers[index].elementwise]
    parts, sums, unit = [], [], "k"
    if own.unit and not dense:
        parts.append(f"(k == {own.unit})")
    for index, code in zip(_later_layers(partial), _codes(partial), strict=True):
        if not layers[index].elementwise:
            below = own.unit if own.unit and index == dense[-1] else f"m{index}"
            parts.append(f"{code.name}[{unit}, {below}]")
            if below != own.unit:
                sums.append(f"for {below} in range({partial.values[index][0].numel()})")
            unit = below
        elif not code.identity:
            parts.append(f"{code.name}[{unit}]")
    if not own.unit:
        return _statement(partial, own), _summed(" * ".join([*parts, own.factor.format(unit=unit)]), sums)
    return _statement(partial, own), _summed(" * ".join(parts), sums) + (f" * {own.factor}" if own.factor else "")


def _statement(partial: PartialDerivative, own: PointCode) -> str:
    """The chain rule written out, times ∂Z/∂θ; the formula with its sum, if θ moves several units of Z."""
    if not partial.effect.single:
        formula = formulas(partial.network, partial.x).get(partial.name)
        return formula.product.text if formula else f"∂Y_k/∂{own.entry}"
    rule = chain_rule(partial.network, partial.layer, partial.x)
    return " ".join([rule.text, *(factor.text for factor in partial.factors_in_letters)])


def _summed(product: str, sums: list[str]) -> str:
    """On one line, if there is room."""
    if not sums:
        return product
    line = f"sum({product} {' '.join(sums)})"
    if len(line) <= CODE_WIDTH - 12:
        return line
    wrapped = textwrap.wrap(product, CODE_WIDTH - 4, break_long_words=False, break_on_hyphens=False)
    return "\n".join(["sum(", *(f"    {part}" for part in [*wrapped, *sums]), ")"])


def _layer_by_layer(partial: PartialDerivative, own: PointCode) -> str:
    """a holds ∂Y_k/∂(each unit after a layer), from the last layer down to the output of the layer of θ."""
    last = f"a[{own.unit}]" + (f" * {own.factor}" if own.factor else "")
    return "\n".join(
        [
            f"a = [float(m == k) for m in range({_size(partial)})]",
            f"for layer in reversed(range({partial.layer + 1}, len(network))):",
            "    below, above = H[layer][None], H[layer + 1][None]",
            "    J = network[layer].local_jacobian(below, above)[0]",
            "    columns = zip(*(torch.diag(J) if J.ndim == 1 else J).tolist())",
            "    a = [sum(u * v for u, v in zip(a, column)) for column in columns]",
            last if own.unit else "sum(u * v for u, v in zip(a, D.tolist()))",
        ]
    )


def _matrix_product(partial: PartialDerivative, own: PointCode) -> tuple[str, str]:
    names, matrices = [], []
    for index, code in zip(_later_layers(partial), _codes(partial), strict=True):
        diagonal = partial.network.layers[index].elementwise
        if not code.identity:
            names.append(f"diag {code.name}" if diagonal else code.name)
            matrices.append(f"torch.diag({code.name})" if diagonal else code.name)
    if len(names) > MAX_MATRICES:
        names = [*names[:3], "…", *names[-2:]]
    matrices = matrices or [f"torch.eye({_size(partial)}, dtype={_precision(partial)})"]
    lines = [f"A = {' @ '.join(matrices[:3])}"]
    lines += [f"A = A @ {' @ '.join(matrices[start : start + 3])}" for start in range(3, len(matrices), 3)]
    product = " ".join(names) or "1"
    if partial.layer < 0:
        return f"∂Y/∂X = A = {product}", "\n".join([*lines, "A[k, j]"])
    if own.kronecker is None:
        z = partial.places[partial.layer].y_name
        statement = f"∂Y/∂{own.entry} = A D, A = {product}, D = ∂{z}/∂{own.entry}"
        return statement, "\n".join([*lines, "A[k] @ D"])
    symbol, last = own.kronecker
    point = own.symbol if len(own.letters) == 1 else f"vec {own.symbol}"
    return f"∂Y/∂{point} = A ⊗ {symbol}, A = {product}", "\n".join([*lines, last])


def _vector_jacobian_product(partial: PartialDerivative, own: PointCode) -> tuple[str, str]:
    vector = partial.values[-1].ndim == 2
    lines = [
        f"v = torch.zeros(1, len(H[-1]), dtype={_precision(partial)})"
        if vector
        else "v = torch.zeros_like(H[-1])[None]",
        "v[0, k] = 1" if vector else "v.view(-1)[k] = 1",
        f'nets.jacobians(network, x)["{partial.name}"].vjp(v){own.pick}',
    ]
    return f"vᵀ ∂Y/∂{own.symbol} with v = e_k", "\n".join(lines)


def _pytorch(partial: PartialDerivative, own: PointCode) -> tuple[str, str]:
    vector = partial.values[-1].ndim == 2
    lines = [] if vector else ["y = network(x).flatten()[k]"]
    leaf, last = own.leaf, f"torch.autograd.grad({'network(x)[0, k]' if vector else 'y'}, {{}})[0]{own.pick}"
    if len(last.format(leaf)) > CODE_WIDTH:
        lines.append(f"theta = {leaf}")
        leaf = "theta"
    return "Y_k.backward(), then .grad", "\n".join([*lines, last.format(leaf)])


def _size(partial: PartialDerivative) -> str:
    """The number of outputs."""
    return "len(H[-1])" if partial.values[-1].ndim == 2 else "H[-1].numel()"


def _precision(partial: PartialDerivative) -> str:
    """The type of the numbers of Y, which an X of whole numbers does not have."""
    return "x.dtype" if partial.x.is_floating_point() else "H[-1].dtype"
