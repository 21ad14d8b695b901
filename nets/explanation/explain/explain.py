"""explain(network, x, "0.weight", (2, 3)) → Explanation: everything about one number of a Jacobian."""

import copy
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor, nn

from nets.calculus.checks import expect_separate_samples
from nets.calculus.formulas import formulas
from nets.calculus.jacobian import Jacobian
from nets.calculus.jacobians import jacobians
from nets.calculus.network import Network
from nets.calculus.parameters import uses_of
from nets.errors import InputError
from nets.explanation.explain.chain import chain_factors, formula_lines
from nets.explanation.explain.derivations import central_difference, forward_mode, reverse_mode, step_size
from nets.explanation.explain.notations import notations
from nets.explanation.explain.partial_derivative import PartialDerivative
from nets.explanation.explain.report import Explanation
from nets.explanation.paths import LocalJacobian, local_jacobians, paths_between
from nets.explanation.picture.graph.network_graph import network_graph
from nets.explanation.picture.picture import picture_of
from nets.explanation.selection import output_unit, select_entry, unit_index
from nets.text import six_digits


def explain(
    network: nn.Module,
    x: Tensor,
    parameter: str,
    index: int | tuple[int, ...] | None = None,
    *,
    sample: int = 0,
    output: int | Sequence[int] | None = None,
) -> Explanation:
    """∂Y_nk/∂θ of one number θ: formula, numbers, factors, paths, four derivations and four notations.

    Everything is computed in float64 on a copy; the network stays as it is. Layers answer for themselves, so that any
    `nets.Layer` can be explained: a derivative without a formula is shown as a named factor, such as ∂H2_3/∂H1_1, with
    its number.

    Args:
        network: a `nets.Network`, or a `torch.nn.Sequential` of layers that `Network.from_torch` knows.
        x: X, of shape (N, *S): (N, J) for most networks.
        parameter: '0.weight', … as `named_parameters()` names them, or 'input'; an index may follow: '0.weight[2,3]'.
        index: of θ in the parameter, or in a sample: (i, j) of a weight, i of a bias, j of the input.
        sample: n.
        output: k, a unit of Y_n, counted in the order of `flatten`, or its index. If None, the unit that θ feeds, if
            the later layers are elementwise; otherwise the output that θ moves most.

    A parameter that several layers share is explained at one use, named by `parameter`; a line has the sum over all.

    Raises:
        InputError: if there is no such number, if the output is not finite at this sample, or if a layer's pullback,
            gradients or forward cannot be used.
    """
    whole = copy.deepcopy(network if isinstance(network, Network) else Network.from_torch(network)).double()
    # Each use of a shared parameter by itself.
    network = Network({name: copy.deepcopy(layer) for name, layer in whole.parts.items()})
    n, x = _sample(network, x, sample)
    points = {name: point.requires_grad_() for name, point in network.named_parameters()}
    points |= {"input": x[0]} if x.is_floating_point() else {}
    partial = PartialDerivative(network, x, *select_entry(points, parameter, index), output=0)
    _expect_finite(partial.values, n)
    chain = local_jacobians(network, partial.values, partial.layer + 1)
    jacobian = jacobians(network, x)[partial.name]
    shape = tuple(partial.values[-1].shape[1:])
    if output is not None:
        k = output_unit(output, shape)
    elif partial.effect.single and not any(local.dense for local in chain):
        (k,) = partial.effect.units
    else:
        k = max(range(math.prod(shape)), key=lambda k: abs(_entry(jacobian, shape, k, partial.index)))
    found = _explanation(replace(partial, output=k), n, chain, _entry(jacobian, shape, k, partial.index))
    uses = uses_of(whole, partial.name)
    if len(uses) == 1:
        return found
    total = _entry(jacobians(whole, x)[uses[0]], shape, k, partial.index)
    note = f"{', '.join(uses)} are one parameter: this is the part of {partial.name}; their sum is {six_digits(total)}"
    return replace(found, lines=(*found.lines, ("shared", note)))


def _explanation(partial: PartialDerivative, sample: int, chain: list[LocalJacobian], value: float) -> Explanation:
    derivations = _derivations(partial, value)
    size = partial.values[partial.layer + 1][0].numel()
    paths = paths_between(chain, partial.output, partial.effect.units, size)
    factors = chain_factors(partial, chain, paths)
    formula = formulas(partial.network, partial.x).get(partial.name)
    setting, written = notations(partial, paths.count)
    return Explanation(
        name=partial.name,
        index=partial.index,
        output=partial.output,
        sample=sample,
        formula="" if formula is None else str(formula),
        lines=tuple(formula_lines(partial, chain, paths, factors)),
        factors=factors,
        paths=paths,
        shared_factor=partial.effect.shared,
        fed_units=tuple(partial.effect.units),
        derivations=derivations,
        step=step_size(partial.point, partial.index),
        setting=setting,
        notations=written,
        picture=picture_of(network_graph(partial.network, partial.x, partial.output)),
    )


def _derivations(partial: PartialDerivative, closed_form: float) -> dict[str, float]:
    forward = forward_mode(partial)
    return {
        "closed form": closed_form,
        "reverse mode": reverse_mode(partial),
        **({} if forward is None else {"forward mode": forward}),
        "central difference": central_difference(partial),
    }


def _entry(jacobian: Jacobian, shape: tuple[int, ...], unit: int, index: tuple[int, ...]) -> float:
    return jacobian.entry(0, *map(int, np.unravel_index(unit, shape)), *index)


def _sample(network: Network, x: Tensor, sample: int) -> tuple[int, Tensor]:
    if isinstance(x, Tensor):
        x = x.detach().double() if x.is_floating_point() else x.detach()
    network.check(x)
    expect_separate_samples(network, x, "explain")
    n = unit_index("sample", sample, len(x))
    return n, x[n : n + 1].clone()


def _expect_finite(values: list[Tensor], sample: int) -> None:
    for level, value in enumerate(values):
        if not value.isfinite().all():
            where = f"the output of layer {level - 1}" if level else "X"
            raise InputError(
                f"{where} is not finite at sample {sample}; expected finite numbers, "
                "since no derivative exists elsewhere."
            )
