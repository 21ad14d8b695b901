"""Y = W X + B.

Source of the formulas: Rumelhart, Hinton, Williams, "Learning representations by back-propagating errors", Nature 323
(1986).
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nets import validation
from nets.calculus.jacobian import BiasJacobian, Jacobian, WeightJacobian
from nets.calculus.layers.conversion import register
from nets.calculus.layers.initialization import WeightedSum
from nets.calculus.mathematics import Mathematics
from nets.calculus.norms import norms_of_products
from nets.calculus.notation.factors import DELTA, Factor, Place, subscript
from nets.errors import InputError


class Linear(WeightedSum):
    """Y_ni = Σ_j W_ij X_nj + B_i.

    Shapes: W (I, J), B (I,), X (N, J), Y (N, I). Where X has further axes, (N, …, J), every row of every sample is
    mapped alike. Parameters are named as in `torch.nn.Linear`.

    Args:
        in_features: J.
        out_features: I.
        bias: whether there is a B.
        gain: W_ij is drawn uniformly from ±gain·√(6 / (I + J)); B starts at zero (Glorot, Bengio, AISTATS 2010).
        generator: of the draw, on the CPU; one with the seed 0 if not given.

    Raises:
        InputError: for an argument out of range, or a weight larger than the free memory.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        gain: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        for name, units in (("in_features", in_features), ("out_features", out_features)):
            validation.whole(name, units, 1, remedy="give the number of units")
        super().__init__((out_features, in_features), in_features + out_features, bias, gain, generator)

    def forward(self, x: Float[Tensor, "*n j"]) -> Float[Tensor, "*n i"]:
        """Y_ni = Σ_j W_ij X_nj + B_i."""
        if x.shape[-1] != self.weight.shape[1]:
            raise InputError(
                f"a Linear layer with {self.weight.shape[1]} inputs was given X with {x.shape[-1]} features; expected "
                "as many features as inputs: begin the sizes of the network with the width of the data."
            )
        return super().forward(x)

    def function(self, m: Mathematics, x: Any, weight: Any, bias: Any = None) -> Any:
        """Y_ni = Σ_j W_ij X_nj + B_i."""
        return m.linear(x, weight, bias)

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """∂Y_ni/∂X_nj = W_ij, so v_ni → Σ_i v_ni W_ij."""
        return v @ self.weight

    def pushforward(self, t: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """∂Y_ni/∂X_nj = W_ij, so t_nj → Σ_j W_ij t_nj."""
        return t @ self.weight.mT

    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """∂Y_nk/∂W_ij = δ_ki X_nj and ∂Y_nk/∂B_i = δ_ki, so W: Σ_n v_ni X_nj and B: Σ_n v_ni."""
        if x.ndim > 2:
            v, x = (t.reshape(-1, t.shape[-1]) for t in (v, x))
        gradients = {"weight": v.mT @ x}
        if self.bias is not None:
            gradients["bias"] = v.sum(-2)
        return gradients

    def parameter_pushforward(self, tangents: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        """Y is linear in W and B, so t → Σ_j t^W_ij X_nj + t^B_i, which is the layer with the tangents as
        parameters."""
        return self.at(tangents)(x)

    def sample_gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """W: Σ v_ni X_nj and B: Σ v_ni, over the rows of each sample; a vector is one row."""
        v, x = (t.reshape(len(t), -1, t.shape[-1]) for t in (v, x))
        return {"weight": v.mT @ x} | ({} if self.bias is None else {"bias": v.sum(1)})

    def jacobians(self, a: Tensor, x: Tensor, y: Tensor) -> dict[str, Jacobian]:
        """∂Y_nk/∂W_ij = A_nki X_nj and ∂Y_nk/∂B_i = A_nki, as factors; with every entry where a sample is not a
        vector."""
        if x.ndim > 2:
            return super().jacobians(a, x, y)
        factor = a.transpose(0, 1)
        bias: dict[str, Jacobian] = {} if self.bias is None else {"bias": BiasJacobian(factor)}
        return {"weight": WeightJacobian(factor, x), **bias}

    def sample_norms(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """W: ‖Σ v_ni X_nj‖ and B: ‖Σ v_ni‖ over the rows of each sample, without the gradient where rows are few; of a
        vector, which is one row, W: ‖v_n‖ ‖X_n‖ and B: ‖v_n‖ (Goodfellow, arXiv:1510.01799)."""
        if x.ndim > 2:
            v, x = (t.reshape(len(t), -1, t.shape[-1]) for t in (v, x))
            norms = {"weight": norms_of_products(v, x)}
            return norms if self.bias is None else norms | {"bias": torch.linalg.vector_norm(v.sum(1), dim=1)}
        norm = torch.linalg.vector_norm(v, dim=-1)
        norms = {"weight": norm * torch.linalg.vector_norm(x, dim=-1)}
        if self.bias is not None:
            norms["bias"] = norm
        return norms

    def backward_gain(self, x: Tensor, y: Tensor) -> float:
        """‖W‖_F / √I, the same for every sample."""
        return float(torch.linalg.vector_norm(self.weight, dtype=torch.float64) / self.weight.shape[0] ** 0.5)

    def factors(self, place: Place, i: str, j: str) -> list[Factor]:
        """∂Y_i/∂X_j = W_ij."""
        if not place.of_vectors:
            return super().factors(place, i, j)
        number = "" if place.number is None else place.number
        return [Factor(f"W{number}_{subscript(i, j)}", (i, j), lambda n: self.weight)]

    def parameter_factors(
        self, place: Place, name: str, index: Sequence[str], unit: str
    ) -> tuple[str, str, list[Factor]]:
        """∂Y_k/∂W_ij = δ_ki X_j and ∂Y_k/∂B_i = δ_ki; over rows t, ∂Y_tk/∂W_ij = δ_ki X_tj and ∂Y_tk/∂B_i = δ_ki."""
        written = f"{name[0].upper()}_{subscript(*index)}"
        if not place.of_vectors:
            return (
                (written, unit, self._row_factors(place, name, index, unit))
                if len(unit) > 1
                else (super().parameter_factors(place, name, index, unit))
            )
        if name == "bias":
            return written, index[0], []
        x = Factor(f"{place.x_name}_{subscript(index[1])}", (index[1],), lambda n: place.values()[0][n])
        return written, index[0], [x]

    def _row_factors(self, place: Place, name: str, index: Sequence[str], unit: str) -> list[Factor]:
        """δ_ki and X_tj, for units tk of a sample of several axes."""
        rows, k = unit[:-1], unit[-1]
        outputs, inputs = self.weight.shape

        def same(n: int) -> Tensor:
            return torch.eye(outputs, dtype=self.weight.dtype).repeat(place.values()[1][n].numel() // outputs, 1)

        def x(n: int) -> Tensor:
            return place.values()[0][n].reshape(-1, inputs).repeat_interleave(outputs, 0)

        delta = Factor(f"δ_{subscript(k, index[0])}", (unit, index[0]), same, (DELTA,))
        if name == "bias":
            return [delta]
        return [delta, Factor(f"{place.x_name}_{subscript(*rows, index[1])}", (unit, index[1]), x)]

    def extra_repr(self) -> str:
        return f"{self.weight.shape[1]}, {self.weight.shape[0]}" + ("" if self.bias is not None else ", bias=False")


def _from_torch(module: nn.Linear) -> Linear:
    linear = Linear(module.in_features, module.out_features, bias=module.bias is not None)
    linear.weight, linear.bias = module.weight, module.bias
    return linear


register(nn.Linear, _from_torch)
register(nn.modules.linear.NonDynamicallyQuantizableLinear, _from_torch)  # of nn.MultiheadAttention
