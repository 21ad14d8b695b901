"""explain_loss(network, x, "0.weight[2,3]", loss=…, targets=…) → LossExplanation: ∂ℓ/∂θ as a sum over all outputs."""

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from nets.calculus.checks import expect_separate_samples
from nets.calculus.jacobians import jacobians
from nets.calculus.losses import Loss
from nets.calculus.network import Network
from nets.errors import InputError
from nets.explanation.document import Block, Lines, Note, Table, Title, as_html, as_text
from nets.explanation.explain.derivations import DIFFERENCE_STEP
from nets.explanation.selection import entry_name, select_entry
from nets.text import six_digits, sixteen_digits

MAX_TERMS = 5
"""Terms that are shown one by one, the largest first."""


@dataclass(frozen=True, repr=False)
class LossExplanation:
    """∂ℓ/∂θ = Σ_n Σ_k ∂ℓ/∂Y_nk ∂Y_nk/∂θ for one number θ.

    Attributes:
        where: θ, such as '0.weight[2,3]'.
        loss: name of the class of ℓ.
        by_output: ∂ℓ/∂Y_nk by the loss's own gradient, in the shape of Y.
        by_point: ∂Y_nk/∂θ by the layers, in the shape of Y.
        derivations: name → value: closed form, reverse mode, central difference.
    """

    where: str
    loss: str
    by_output: Tensor
    by_point: Tensor
    derivations: dict[str, float]

    @property
    def value(self) -> float:
        """∂ℓ/∂θ in closed form."""
        return self.derivations["closed form"]

    def blocks(self) -> list[Block]:
        """The document, in order."""
        title = Title(f"∂ℓ/∂{self.where} = {six_digits(self.value)}")
        where = f"θ = {self.where}, ℓ = {self.loss}"
        chain = Lines((("formula", "∂ℓ/∂θ = Σ_n Σ_k ∂ℓ/∂Y_nk ∂Y_nk/∂θ"), ("where", where)))
        products = (self.by_output * self.by_point).flatten()
        shown = products.abs().topk(min(MAX_TERMS, len(products))).indices.tolist()
        rows = []
        for term in shown:
            place = ",".join(map(str, np.unravel_index(term, self.by_output.shape)))
            numbers = (self.by_output.flatten()[term], self.by_point.flatten()[term], products[term])
            rows.append((f"Y[{place}]", *(six_digits(float(number)) for number in numbers)))
        others = torch.ones_like(products, dtype=torch.bool)
        others[shown] = False
        if others.any():
            rest = six_digits(float(products[others].sum()))
            rows.append((f"the other {int(others.sum()):,} together", "", "", rest))
        rows.append(("sum", "", "", sixteen_digits(self.value)))
        derivations = tuple((name, sixteen_digits(value)) for name, value in self.derivations.items())
        closed, reverse, difference = self.derivations.values()
        return [
            title,
            chain,
            Title("The largest terms; the index begins with the sample n", 2),
            Table(("output", "∂ℓ/∂Y", "∂Y/∂θ", "product"), tuple(rows), numbers=3, total=True),
            Title("Three derivations", 2),
            Table(("", "value"), derivations, numbers=1),
            Note(
                f"The first two are within {abs(closed - reverse):.1e} of each other, "
                f"the difference within {abs(closed - difference):.1e}."
            ),
        ]

    def __repr__(self) -> str:
        """Text for a terminal of 80 columns or more."""
        return as_text(self.blocks())

    def _repr_html_(self) -> str:
        return as_html(self.blocks())


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

    Everything is computed in float64 on a copy. A parameter that several layers share is moved at all its uses.

    Args:
        network, x, parameter, index: as for `nets.explain`; the input is no parameter.
        loss: ℓ.
        targets: T, one for each sample of X.

    Raises:
        InputError: if there is no such number, if the loss cannot compare Y with T, or if ℓ is not finite.
    """
    network = copy.deepcopy(network if isinstance(network, Network) else Network.from_torch(network)).double()
    x = x.double() if x.is_floating_point() else x
    targets = targets.double() if targets.is_floating_point() else targets
    network.check(x)
    expect_separate_samples(network, x, "explain_loss")
    name, place = select_entry(dict(network.named_parameters()), parameter, index)
    point = network.get_parameter(name).detach().clone().requires_grad_()

    def at(moved: Tensor) -> Tensor:
        value: Tensor = loss(functional_call(network, {name: moved}, (x,)), targets)
        return value

    y = network(x).detach()
    loss.check(y, targets)
    value = at(point)
    if not value.isfinite():
        raise InputError(f"the loss is {float(value.detach())}; expected a finite number: no derivative exists there.")
    direction = torch.zeros_like(point)
    direction[place] = 1
    by_output = loss.gradient(y, targets).detach()
    by_point = jacobians(network, x)[name].jvp(direction).detach()
    (reverse,) = torch.autograd.grad(value, point)
    h = DIFFERENCE_STEP * max(1.0, abs(float(point.detach()[place])))
    with torch.no_grad():
        difference = (at(point + h * direction) - at(point - h * direction)) / (2 * h)
    return LossExplanation(
        where=entry_name(name, place),
        loss=type(loss).__name__,
        by_output=by_output,
        by_point=by_point,
        derivations={
            "closed form": float((by_output * by_point).sum()),
            "reverse mode": float(reverse[place]),
            "central difference": float(difference),
        },
    )
