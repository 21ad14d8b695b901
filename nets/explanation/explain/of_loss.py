"""explain_loss(network, x, "0.weight[2,3]", loss=…, targets=…) → LossExplanation: ∂ℓ/∂θ as a sum over all outputs."""

import copy
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from nets.calculus.checks import checked_trace, expect_separate_samples
from nets.calculus.formulas import chain_rule, formulas
from nets.calculus.losses import Loss
from nets.calculus.network import Network
from nets.calculus.notation.factors import subscript
from nets.calculus.parameters import uses_of
from nets.errors import InputError, quoted
from nets.explanation.explain.derivations import difference_quotient
from nets.explanation.explain.layer_code import python_name
from nets.explanation.explain.loss_report import LossExplanation
from nets.explanation.explain.loss_symbol import LossSymbol
from nets.explanation.explain.notations import Notation, run
from nets.explanation.selection import entry_name, select_entry
from nets.text import listed


def explain_loss(
    network: nn.Module,
    x: Tensor,
    parameter: str,
    index: int | tuple[int, ...] | None = None,
    *,
    loss: Loss,
    targets: Tensor,
) -> LossExplanation:
    """∂ℓ/∂θ = Σ_n Σ_k ∂ℓ/∂Y_nk ∂Y_nk/∂θ of one number θ of a parameter, over all samples and outputs.

    The loss's own closed form of ∂ℓ/∂Y_nk is written out, with its numbers. Everything is computed in float64 on a
    copy. A parameter that several layers share is moved at all its uses.

    Args:
        network, x, parameter, index: as for `nets.explain`; the input is no parameter.
        loss: ℓ.
        targets: T, one for each sample of X.

    Raises:
        InputError: if there is no such number, if the loss cannot compare Y with T, or if ℓ is not finite.
    """
    if not isinstance(loss, Loss):
        raise InputError(
            f"loss is {quoted(loss)}; expected a loss that knows ∂ℓ/∂Y: nets.CrossEntropy(), nets.MeanSquaredError() "
            "or another subclass of nets.Loss."
        )
    if not isinstance(targets, Tensor):
        raise InputError(f"targets is {quoted(targets)}; expected a tensor with a target for each sample of X.")
    network = copy.deepcopy(network if isinstance(network, Network) else Network.from_torch(network)).double()
    x, targets = (part.double() if part.is_floating_point() else part for part in (x, targets))
    network.check(x)
    name, place = select_entry(dict(network.named_parameters()), parameter, index)
    expect_separate_samples(network, x, "explain_loss")
    y = checked_trace(network, x)[-1].detach()
    loss.check(y, targets)
    value = loss(y, targets)
    if not value.isfinite():
        raise InputError(f"the loss is {float(value)}; expected a finite number: no derivative exists there.")
    direction = torch.zeros_like(network.get_parameter(name))
    direction[place] = 1
    by_output = loss.gradient(y, targets).detach()
    by_point = network.parameter_pushforward({name: direction}, x, y).detach()
    symbol = LossSymbol(loss, y, targets)
    found = _notations(network, x, name, place, loss, targets)
    shared = uses_of(network, name)
    return LossExplanation(
        where=entry_name(name, place),
        loss=float(value),
        lines=(*_lines(network, x, name, place, symbol), *([("shared", _shared(shared))] if len(shared) > 1 else [])),
        by_output=by_output,
        by_point=by_point,
        symbol=symbol,
        derivations={
            "closed form": found[0].value,
            "sum of the terms": float((by_output * by_point).sum()),
            "reverse mode": found[1].value,
            "central difference": _difference(network, x, name, place, loss, targets),
        },
        notations=found,
    )


def _lines(
    network: Network, x: Tensor, name: str, place: tuple[int, ...], symbol: LossSymbol
) -> Iterator[tuple[str, str]]:
    """(label, formula): the sum in letters, what its letters stand for, and the sum with the index of θ."""
    formula = formulas(network, x).get(name)
    point = formula.head.partition("/∂")[2] if formula and name.count(".") == 1 else "θ"
    sums = "".join(symbol.indices)
    yield "formula", f"∂ℓ/∂{point} = Σ_{sums} {symbol.text} · ∂Y_{sums}/∂{point}"
    yield from zip(("where", *[""] * len(symbol.meanings)), symbol.meanings, strict=False)
    if formula is not None:
        yield "at each n", str(formula).replace(formula.head.partition("/")[2], f"∂{point}")
    if formula is not None and "A_k" in formula.product.text:
        yield "", f"A_ki = {chain_rule(network, _layer(network, name), x).text}"
    if point != "θ" and place:
        here = point.rpartition("_")[0] + f"_{subscript(*map(str, place))}"
        yield "here", f"∂ℓ/∂{here} = Σ_{sums} {symbol.text} · ∂Y_{sums}/∂{here}"


def _layer(network: Network, name: str) -> int:
    """The number of the layer that a parameter belongs to."""
    return list(network.parts).index(name.partition(".")[0])


def _shared(uses: Sequence[str]) -> str:
    return f"{listed(uses)} are one parameter: ∂Y/∂θ is the sum over its uses"


def _notations(
    network: Network, x: Tensor, name: str, place: tuple[int, ...], loss: Loss, targets: Tensor
) -> tuple[Notation, ...]:
    """The gradient by the layers, and by PyTorch, each as Python that is executed."""
    names = {"network": network, "x": x, "loss": loss, "targets": targets, "torch": torch}
    pick = f"[{', '.join(map(str, place))}]" if place else ""
    closed = f'y = network(x).detach()\nnetwork.gradients(loss.gradient(y, targets), x, y)["{name}"]{pick}'
    torchs = f"theta = {python_name(network, name)}\ntorch.autograd.grad(loss(network(x), targets), theta)[0]{pick}"
    found = (
        ("closed form", "v_nk = ∂ℓ/∂Y_nk, pulled back by every layer", closed),
        ("PyTorch", "ℓ.backward(), then .grad", torchs),
    )
    return tuple(Notation(title, statement, code, run(code, names)) for title, statement, code in found)


def _difference(network: Network, x: Tensor, name: str, place: tuple[int, ...], loss: Loss, targets: Tensor) -> float:
    """(ℓ(θ + h) − ℓ(θ − h)) / 2h."""

    def value(point: Tensor) -> Tensor:
        return loss(functional_call(network, {name: point}, (x,)), targets)

    return difference_quotient(value, network.get_parameter(name).detach(), place)
