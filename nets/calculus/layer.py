"""What a layer is: a forward pass, and what it does to cotangents; everything else follows from these.

Index letters: n sample, i output of the layer, j input of the layer. A cotangent v_ni and a tangent t_nj may carry further axes in
front (the outputs k of a whole network, say); a pullback broadcasts over them.
"""

import copy
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.func import vjp
from typing_extensions import Self

from nets.calculus.jacobian import DenseJacobian, Jacobian
from nets.errors import InputError


class Layer(nn.Module, ABC):
    """Y_ni = f_i(X_n; θ), and what it does to cotangents and tangents.

    A layer without parameters states `forward` and `pullback`, one with parameters `gradients` as well. The rest is derived from
    these, and may be stated where there is something cheaper: a pullback is linear in v, so that its transpose is the pushforward,
    and the gradient of one sample is the gradient of a batch of one.
    """

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """X_nj → Y_ni."""

    @abstractmethod
    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """v_ni → Σ_i v_ni ∂Y_ni/∂X_nj."""

    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """v_ni → Σ_n Σ_i v_ni ∂Y_ni/∂θ for every parameter θ of the layer, by name.

        Raises:
            InputError: if the layer has parameters, whose gradients it does not state.
        """
        names = [name for name, _ in self.named_parameters()]
        if names:
            raise InputError(
                f"{type(self).__name__} has the parameter {names[0]} and no gradients; expected a layer that states "
                "gradients(v, x, y) → {name: Σ_n Σ_i v_ni ∂Y_ni/∂θ} for each of its parameters."
            )
        return {}

    def pushforward(self, t: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """t_nj → Σ_j ∂Y_ni/∂X_nj t_nj, the transpose of the pullback unless the layer states it."""
        v = torch.zeros(*t.shape[: t.ndim - x.ndim], *y.shape, dtype=y.dtype, device=y.device)
        (pushed,) = vjp(lambda v: self.pullback(v, x, y), v)[1](t)
        return pushed

    def along(self, tangents: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        """t_θ → Σ_θ ∂Y_ni/∂θ t_θ, the transpose of the gradients unless the layer states it."""
        transposed = vjp(lambda v: self.gradients(v, x, y), torch.zeros_like(y))[1]
        (moved,) = transposed(tangents)
        return moved

    def sample_gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """v_ni → Σ_i v_ni ∂Y_ni/∂θ of each sample n for every parameter θ, by name; of shape (N, *θ.shape)."""
        each = [self.gradients(v[n : n + 1], x[n : n + 1], y[n : n + 1]) for n in range(len(x))]
        return {name: torch.stack([one[name] for one in each]) for name, _ in self.named_parameters()}

    def sample_norms(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """v_ni → ‖Σ_i v_ni ∂Y_ni/∂θ‖ of each sample n for every parameter θ of the layer, by name; shape (N,)."""
        each = self.sample_gradients(v, x, y)
        return {name: torch.linalg.vector_norm(gradients.flatten(1), dim=1) for name, gradients in each.items()}

    def jacobians(self, a: Tensor, x: Tensor, y: Tensor) -> dict[str, Jacobian]:
        """∂Y_nk/∂θ of every parameter θ of the layer, by name, from A_kni = ∂Y_nk/∂Z_ni with Z the layer's output."""
        each = [self.sample_gradients(v, x, y) for v in a]
        return {name: DenseJacobian(torch.stack([one[name] for one in each], 1)) for name, _ in self.named_parameters()}

    def at(self, parameters: dict[str, Tensor]) -> Self:
        """The same layer at other parameter values. Nothing is copied, and this layer stays as it is."""
        view = copy.copy(self)
        view._parameters = {**self._parameters, **parameters}  # type: ignore[dict-item]
        return view
