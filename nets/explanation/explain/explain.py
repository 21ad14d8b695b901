"""explain(network, x, "0.weight", (2, 3)) → Explanation: one number of a Jacobian, told in full."""

import copy

from torch import Tensor, nn

from nets.calculus.formulas import chain_rule, formulas
from nets.calculus.jacobian import Jacobian
from nets.calculus.jacobians import jacobians
from nets.calculus.layers import Activation, Linear
from nets.calculus.network import Network
from nets.errors import InputError
from nets.explanation.explain.derivations import central_difference, forward_mode, point_of, reverse_mode, step_for
from nets.explanation.explain.notations import Sought, notations
from nets.explanation.explain.numbers import factor, once_bracketed, with_indices, with_numbers
from nets.explanation.explain.report import Explanation, Factor
from nets.explanation.paths import LocalJacobian, Paths, layer_outputs, local_jacobians, paths_between
from nets.explanation.picture.graph.network_graph import network_graph
from nets.explanation.picture.picture import picture_of
from nets.explanation.selection import select_entry, unit_index


def explain(
    network: nn.Module,
    x: Tensor,
    parameter: str,
    index: int | tuple[int, ...] | None = None,
    *,
    sample: int = 0,
    output: int | None = None,
) -> Explanation:
    """One number ∂Y_nk/∂θ of a network: its formula, the numbers put in, its factors, four derivations and four notations.

    Everything is computed in float64 on a copy; the network stays as it is.

    Args:
        network: a `nets.Network`, or a `torch.nn.Sequential` of layers that `Network.from_torch` knows.
        x: X_nj, shape (N, J).
        parameter: '0.weight', … as `named_parameters()` names them, or 'input'; the index may follow, as in '0.weight[2,3]'.
        index: (i, j) of a weight, i of a bias, j of the input.
        sample: n.
        output: k; if None, the unit i itself where the layers after it mix no units, so that δ_ki = 1, and else the output that
            θ moves most.

    Raises:
        InputError: if there is no such number, if the output is not finite at this sample, or if a layer does not state how its
            derivative is written.
    """
    network = copy.deepcopy(network if isinstance(network, Network) else Network.from_torch(network)).double()
    _written(network)
    n, x = _sample(network, x, sample)
    points = {**{name: point.requires_grad_() for name, point in network.named_parameters()}, "input": x[0]}
    name, where = select_entry(points, parameter, index)
    layer = -1 if name == "input" else int(name.partition(".")[0])
    values = [value[0].detach() for value in network.trace(x)]
    _finite(values, n)
    found = jacobians(network, x)[name]
    k = _most_moved(network, found, layer, where) if output is None else unit_index("output", output, len(values[-1]))
    sought = Sought(name, where, k, layer)

    target, start = where[0], layer + 1
    chain = local_jacobians(network, [value[None] for value in values], start)
    routes = paths_between(chain, k, target, len(values[start]))
    setting, written = notations(network, x, sought, routes.count)
    full = (0, *where) if name == "input" else where
    arguments = (network, x, name, full, k)
    step = step_for(point_of(network, x, name), full)
    return Explanation(
        name=name,
        index=where,
        output=k,
        sample=n,
        formula=str(formulas(network)[name]),
        lines=_lines(network, values, sought, chain, routes),
        factors=_factors(network, values, sought, chain, routes),
        paths=routes,
        own=_own(values, sought),
        derivations={
            "closed form": found.entry(0, k, *where),
            "reverse mode": reverse_mode(*arguments),
            "forward mode": forward_mode(*arguments),
            "central difference": central_difference(*arguments, step),
        },
        step=step,
        setting=setting,
        notations=written,
        picture=picture_of(network_graph(network, x, k)),
    )


def _written(network: Network) -> None:
    for index, layer in enumerate(network.layers):
        if layer.symbol is None and not isinstance(layer, Linear):
            raise InputError(
                f"layer {index} is a {type(layer).__name__}, which does not state how its derivative is written; expected Linear "
                "layers and activations with a symbol: nets.verify and nets.jacobians take any layer."
            )


def _sample(network: Network, x: Tensor, sample: int) -> tuple[int, Tensor]:
    if not isinstance(x, Tensor) or not x.is_floating_point():
        what = str(x.dtype) if isinstance(x, Tensor) else type(x).__name__
        raise InputError(f"X is {what}; expected a tensor of floating-point numbers of shape (samples, features).")
    x = x.detach().double()
    network.check(x)
    n = unit_index("sample", sample, len(x))
    return n, x[n : n + 1].clone()


def _finite(values: list[Tensor], sample: int) -> None:
    for level, value in enumerate(values):
        if not value.isfinite().all():
            where = f"the output of layer {level - 1}" if level else "X"
            raise InputError(
                f"{where} is not finite at sample {sample}; expected finite numbers, since no derivative exists elsewhere."
            )


def _most_moved(network: Network, found: Jacobian, layer: int, where: tuple[int, ...]) -> int:
    mixing = any(isinstance(later, Linear) for later in network.layers[layer + 1 :])
    if not mixing:
        return where[0]
    outputs = range(found.shape[1])
    return max(outputs, key=lambda k: abs(found.entry(0, k, *where)))


def _own(values: list[Tensor], sought: Sought) -> float:
    """The factor that the parameter's own layer adds: X_j for a weight, 1 for a bias; the input has none."""
    return float(values[sought.layer][sought.index[1]]) if sought.layer >= 0 and len(sought.index) == 2 else 1.0


def _indices(sought: Sought) -> dict[str, int]:
    return {"k": sought.output, **dict(zip("ij" if sought.layer >= 0 else "j", sought.index, strict=False))}


def _lines(
    network: Network, values: list[Tensor], sought: Sought, chain: list[LocalJacobian], routes: Paths
) -> tuple[tuple[str, str], ...]:
    """The formula, with the chain rule written out, with the indices, with the numbers."""
    formula = str(formulas(network)[sought.name])
    sides = formula.split(" = ")
    written = chain_rule(network, sought.layer).text
    lines = [("formula", formula)]
    if any(link.dense for link in chain):
        head = "∂Y_k/∂X_j" if sought.layer < 0 else "A_ki"
        if "A_ki" in formula:
            lines.append(("where", f"{head} = {written}"))
    if routes.count == 1 or not any(link.dense for link in chain):
        sides[1] = sides[1].replace("A_ki", written) if sought.layer >= 0 else written
    indexed = [with_indices(side, _indices(sought)) for side in sides]
    lines.append(("here", " = ".join(indexed)))
    if "Σ" not in sides[1]:
        known = _quantities(network, values, sought, routes)
        lines.append(("in numbers", f"{indexed[0]} = {with_numbers(indexed[1], known)}"))
    return tuple(lines)


def _quantities(network: Network, values: list[Tensor], sought: Sought, routes: Paths) -> dict[str, float]:
    """What each letter with its indices stands for."""
    known: dict[str, float] = {}
    for name, value in zip(layer_outputs(network), values, strict=True):
        known |= {f"{name}_{one}": float(number) for one, number in enumerate(value)}
    k, target = sought.output, sought.index[0]
    known |= {f"δ_{k},{target}": float(k == target), f"A_{k},{target}": routes.total}
    for path in routes.shown[:1]:
        above = path.units
        for level, index in enumerate(range(len(network) - 1, sought.layer, -1)):
            layer = network.layers[index]
            if isinstance(layer, Linear):
                entry = float(layer.weight.detach()[above[level], above[level + 1]])
                known |= {f"W{index}_{above[level]},{above[level + 1]}": entry}
                known |= {f"W_{above[level]},{above[level + 1]}": entry}
    return known


def _factors(
    network: Network, values: list[Tensor], sought: Sought, chain: list[LocalJacobian], routes: Paths
) -> tuple[Factor, ...]:
    """The factors along the largest path, from the output back."""
    names, k = layer_outputs(network), sought.output
    # Where δ = 0 there is no path; the factors on the way from Y_k down to the layer are there all the same.
    units = routes.shown[0].units if routes.shown else (k,) * (len(chain) + 1)
    found = []
    for link, above, below in zip(reversed(chain), units, units[1:], strict=False):
        layer, level = network.layers[link.layer], link.layer
        upper, lower = f"{names[level + 1]}_{above}", f"{names[level]}_{below}"
        if isinstance(layer, Activation):
            y, z = factor(float(values[level + 1][above])), factor(float(values[level][below]))
            symbol = layer.symbol or "1"
            written, numbers = symbol.format(y=upper, z=lower), once_bracketed(symbol.format(y=y, z=z))
            value = float(link.values[above])
        else:
            value = float(link.values[above, below])
            written, numbers = f"W{level}_{above},{below}", factor(value)
        found.append(Factor(f"{level} {type(layer).__name__}", f"∂{upper}/∂{lower}", written, numbers, value))
    if sought.layer >= 0:
        found.append(_last(names, values, sought, units[-1]))
    elif not any(link.dense for link in chain):
        j = sought.index[0]
        found.append(Factor("input", f"∂X_{k}/∂X_{j}", f"δ_{k},{j}", str(int(k == j)), float(k == j)))
    return tuple(found)


def _last(names: list[str], values: list[Tensor], sought: Sought, at: int) -> Factor:
    """∂Z_u/∂W_ij = δ_ui X_j, or ∂Z_u/∂B_i = δ_ui, in the parameter's own layer."""
    level, i = sought.layer, sought.index[0]
    letter = "W" if len(sought.index) == 2 else "B"
    delta, value = f"δ_{at},{i}", float(at == i)
    numbers = str(int(value))
    if letter == "W":
        x = float(values[level][sought.index[1]])
        delta, numbers, value = f"{delta} {names[level]}_{sought.index[1]}", f"{numbers} · {factor(x)}", value * x
    point = f"{letter}_{','.join(map(str, sought.index))}"
    return Factor(f"{level} Linear", f"∂{names[level + 1]}_{at}/∂{point}", delta, numbers, value)
