"""Y = X W + B, with the weight the other way round.

Source: the layer `Conv1D` of GPT-2 (Radford et al., 2019), whose weights are stored so.
"""

from typing import Any

import torch
from torch import Tensor, nn

from nets.calculus.jacobian import DenseJacobian, Jacobian
from nets.calculus.layer import Layer
from nets.calculus.layers.conversion import register, sharing
from nets.calculus.layers.linear import Linear
from nets.calculus.mathematics import Mathematics
from nets.calculus.norms import norms_of_products
from nets.errors import InputError


class TransposedLinear(Layer):
    """Y_ni = Σ_j X_nj W_ji + B_i: a `Linear` layer whose weight is transposed.

    Shapes: W (J, I), B (I,), X (N, …, J), Y (N, …, I).

    Args:
        in_features: J.
        out_features: I.
        generator: of the initial weights, which are those of `Linear`; one with the seed 0 if not given.

    Raises:
        InputError: for an argument out of range; in the forward pass for an X with another number of features.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, in_features: int, out_features: int, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        linear = Linear(in_features, out_features, generator=generator)
        self.weight = nn.Parameter(linear.weight.detach().mT.contiguous())
        self.bias = nn.Parameter(torch.zeros(out_features))

    def forward(self, x: Tensor) -> Tensor:
        """Y_ni = Σ_j X_nj W_ji + B_i."""
        if x.shape[-1] != len(self.weight):
            raise InputError(
                f"a TransposedLinear layer with {len(self.weight)} inputs was given X with {x.shape[-1]} features; "
                "expected as many features as inputs."
            )
        return super().forward(x)

    def function(self, m: Mathematics, x: Any, weight: Any, bias: Any) -> Any:
        """Y_ni = Σ_j X_nj W_ji + B_i."""
        return x @ weight + bias

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """∂Y_ni/∂X_nj = W_ji, so v_ni → Σ_i v_ni W_ji."""
        return v @ self.weight.mT

    def pushforward(self, t: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """t_nj → Σ_j t_nj W_ji."""
        return t @ self.weight

    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """W: Σ_n X_nj v_ni and B: Σ_n v_ni."""
        v, x = (t.reshape(-1, t.shape[-1]) for t in (v, x))
        return {"weight": x.mT @ v, "bias": v.sum(0)}

    def sample_gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """The same sums over the rows of each sample; a vector is one row."""
        v, x = (t.reshape(len(t), -1, t.shape[-1]) for t in (v, x))
        return {"weight": x.mT @ v, "bias": v.sum(1)}

    def sample_norms(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """‖Σ X_nj v_ni‖ and ‖Σ v_ni‖ over the rows of each sample, without the gradient where rows are few."""
        v, x = (t.reshape(len(t), -1, t.shape[-1]) for t in (v, x))
        return {"weight": norms_of_products(x, v), "bias": torch.linalg.vector_norm(v.sum(1), dim=1)}

    def jacobians(self, a: Tensor, x: Tensor, y: Tensor) -> dict[str, Jacobian]:
        """∂Y_nk/∂W_ji = Σ A_nki X_nj and ∂Y_nk/∂B_i = Σ A_nki, over the rows of the sample."""
        a, x = a.reshape(*a.shape[:2], -1, a.shape[-1]).transpose(0, 1), x.reshape(len(x), -1, x.shape[-1])
        weight = torch.einsum("nkti,ntj->nkji", a, x)
        return {"weight": DenseJacobian(weight), "bias": DenseJacobian(a.sum(2))}

    def extra_repr(self) -> str:
        return ", ".join(map(str, self.weight.shape))


def _converted(module: Any) -> TransposedLinear:
    return sharing(TransposedLinear(*module.weight.shape), module)


register("transformers.pytorch_utils.Conv1D", _converted)
