"""The factors along the largest path from Y_k back to θ, and the formula with indices and with numbers."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from nets.calculus.formulas import chain_rule, written_formulas
from nets.calculus.notation.factors import Factor
from nets.calculus.notation.symbols import as_factor, slope_function
from nets.explanation.explain.numbers import factor_text, with_values
from nets.explanation.explain.partial_derivative import FREE, PartialDerivative, number_of
from nets.explanation.paths import LocalJacobian, Paths


@dataclass(frozen=True)
class ChainFactor:
    """One factor on the way from Y_k back to θ.

    Attributes:
        layer: '1 Tanh', or 'head Linear' where the network has names.
        derivative: '∂H2_5/∂H1_5'.
        formula: '(1 − H2_5²)'; '' for an identity.
        numbers: the formula with numbers.
        value: from the layer's own pullback, or its gradients.
        formula_value: what the formula gives.
        dense: whether a path may go from here to another unit.
    """

    layer: str
    derivative: str
    formula: str
    numbers: str
    value: float
    formula_value: float
    dense: bool

    @property
    def consistent(self) -> bool:
        """Whether the formula gives the layer's own derivative."""
        return _close(self.value, self.formula_value)


def chain_factors(partial: PartialDerivative, chain: Sequence[LocalJacobian], paths: Paths) -> tuple[ChainFactor, ...]:
    """The factors along the largest path, from the output back; without a path, those at unit k of every layer."""
    units = paths.shown[0].units if paths.shown else (partial.output,) * (len(chain) + 1)
    steps = zip(reversed(chain), units, units[1:], strict=False)
    factors = [_layer_factor(partial, local, above, below) for local, above, below in steps]
    if partial.layer >= 0:
        factors.append(_parameter_factor(partial, units[-1]))
    elif not any(local.dense for local in chain):
        k, j = partial.output, partial.effect.unit
        delta = float(k == j)
        factors.append(ChainFactor("input", f"∂X_{k}/∂X_{j}", f"δ_{k},{j}", f"{delta:.0f}", delta, delta, False))
    return tuple(factors)


def _layer_factor(partial: PartialDerivative, local: LocalJacobian, above: int, below: int) -> ChainFactor:
    layer, place = partial.network.layers[local.layer], partial.places[local.layer]
    factors = layer.factors(place, str(above), str(below))
    value = float(local.entry(above, below))
    numbers = factor_text(value)
    if layer.elementwise and layer.symbol:
        z, y = (given[0].flatten()[above] for given in place.values())
        # As in the layer's factors, a symbol that is not the slope is not shown.
        if _close(float(slope_function(layer.symbol)(z, y)), value):
            numbers = with_values(as_factor(layer.symbol), z=float(z), y=float(y))
    return ChainFactor(
        layer=partial.label(local.layer),
        derivative=f"∂{place.y_name}_{above}/∂{place.x_name}_{below}",
        formula=_joined(factors),
        numbers=numbers,
        value=value,
        formula_value=math.prod(map(number_of, factors)),
        dense=local.dense,
    )


def _parameter_factor(partial: PartialDerivative, unit: int) -> ChainFactor:
    """∂Z_u/∂θ at unit u of the output of the parameter's own layer: δ_ui X_j for a weight, δ_ui for a bias."""
    effect, place = partial.effect, partial.places[partial.layer]
    value = effect.units.get(unit, 0.0) * effect.shared
    if effect.single:
        delta = int(unit == effect.unit)
        formula = " ".join([f"δ_{unit},{effect.unit}", *(factor.text for factor in effect.factors)])
        numbers = " · ".join([str(delta), *(factor_text(number_of(factor)) for factor in effect.factors)])
        formula_value = delta * math.prod(map(number_of, effect.factors))
    else:
        factors = _parameter_factors(partial, str(unit))
        formula, numbers = _joined(factors), factor_text(value)
        formula_value = math.prod(map(number_of, factors))
    return ChainFactor(
        layer=partial.label(partial.layer),
        derivative=f"∂{place.y_name}_{unit}/∂{effect.symbol}",
        formula=formula,
        numbers=numbers,
        value=value,
        formula_value=formula_value,
        dense=False,
    )


def formula_lines(
    partial: PartialDerivative, chain: Sequence[LocalJacobian], paths: Paths, factors: Sequence[ChainFactor]
) -> Iterator[tuple[str, str]]:
    """(label, formula): in letters, with the chain rule, with indices, and with numbers if there is no sum."""
    written = written_formulas(partial.network, partial.x)
    formula = written.formulas.get(partial.name)
    if formula is not None:
        yield "formula", str(formula)
    yield from (("note", sentence) for sentence in written.left_out)
    dense = sum(local.dense for local in chain)
    if dense > (partial.layer < 0):  # then the formula contains A
        symbol = "∂Y_k/∂X_j" if partial.layer < 0 else "A_ki"
        yield "where", f"{symbol} = {chain_rule(partial.network, partial.layer, partial.x).text}"
    shape = tuple(partial.values[-1].shape[1:])
    if len(shape) > 1:
        place = ",".join(map(str, np.unravel_index(partial.output, shape)))
        yield "output", f"Y_{partial.output} is [{place}] of the {' × '.join(map(str, shape))} numbers of Y"
    head = f"∂Y_{partial.output}/∂{partial.effect.symbol}"
    if paths.count == 1 or not dense:
        indexed, numbers = _along_one_path(partial, chain, factors)
    else:
        indexed, numbers = _over_all_paths(partial, chain, paths)
    yield "here", head if indexed == head else f"{head} = {indexed}"
    if numbers:
        yield "in numbers", f"{head} = {numbers}"


def _along_one_path(
    partial: PartialDerivative, chain: Sequence[LocalJacobian], factors: Sequence[ChainFactor]
) -> tuple[str, str]:
    """The product of the factors with indices, and with numbers; δ comes first."""
    effect, parts = partial.effect, []
    if effect.single and not any(local.dense for local in chain):
        parts.append((f"δ_{partial.output},{effect.unit}", str(int(partial.output == effect.unit))))
    parts += [(factor.formula, factor.numbers) for factor in factors[: len(chain)] if factor.formula]
    if effect.single:
        parts += [(factor.text, factor_text(number_of(factor))) for factor in effect.factors]
    else:
        parts.append((factors[-1].formula, factors[-1].numbers))
    return " ".join(formula for formula, _ in parts), " · ".join(numbers for _, numbers in parts)


def _over_all_paths(partial: PartialDerivative, chain: Sequence[LocalJacobian], paths: Paths) -> tuple[str, str]:
    """The formula with A for the product of the layers after θ; its numbers only if it contains no sum."""
    effect, k = partial.effect, partial.output
    if partial.layer < 0:
        first = next(local.layer for local in chain if local.dense)
        j, layers, places = effect.unit, partial.network.layers, partial.places
        own = layers[first].factors(replace(places[first], number=None), "i", str(j))
        for index in reversed(range(first)):
            own += layers[index].factors(places[index], str(j), str(j))
        return f"Σ_i A_{k},i {_joined(own)}", ""
    if not effect.single:
        return f"Σ_{FREE} A_{k},{FREE} {_joined(_parameter_factors(partial, FREE))}", ""
    numbers = [paths.total, *map(number_of, effect.factors)]
    return " ".join([f"A_{k},{effect.unit}", *(factor.text for factor in effect.factors)]), " · ".join(
        map(factor_text, numbers)
    )


def _parameter_factors(partial: PartialDerivative, unit: str) -> list[Factor]:
    """∂Z_u/∂θ as the layer writes it, with a letter or a number for u."""
    layer, place = partial.network.layers[partial.layer], partial.places[partial.layer]
    return layer.parameter_factors(place, partial.parameter, partial.index_texts, unit)[2]


def _close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)


def _joined(factors: Sequence[Factor]) -> str:
    return " ".join(factor.text for factor in factors)
