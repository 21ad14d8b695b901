"""Rows of a table in place of whole numbers: tokens and positions.

Index letters: n sample, t position, u row of the table, j entry of a row. v is the cotangent of the output. A sample of
tokens may have any shape; t means all its axes. Source: Bengio et al., "A Neural Probabilistic Language Model", JMLR 3
(2003), section 2.
"""

import torch
from torch import Tensor, nn

from nets import validation
from nets.calculus.jacobian import DenseJacobian, Jacobian
from nets.calculus.layer import Layer
from nets.calculus.layers.conversion import register
from nets.errors import InputError


class Embedding(Layer):
    """Y_ntj = W_{X_nt, j}: row X_nt of the table W, for each whole number X_nt.

    Shapes: X (N, *T) of whole numbers, W (U, J), Y (N, *T, J).

    Args:
        num_embeddings: U, the number of rows.
        embedding_dim: J.
        padding_idx: a row that stays as it is: its gradient is zero. None for no such row.
        generator: of the initial W, which is normal with the deviation 1 and zero in the padding row, as in
            `torch.nn.Embedding`; one with the seed 0 if not given.

    Raises:
        InputError: for an argument out of range; in the forward pass unless X holds whole numbers from 0 to U − 1.
    """

    weight: Tensor

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        rows = validation.whole("num_embeddings", num_embeddings, 1, remedy="give the number of rows")
        width = validation.whole("embedding_dim", embedding_dim, 1, remedy="give the width of a row")
        if padding_idx is not None:
            validation.whole("padding_idx", padding_idx, 0, rows - 1, remedy="give a row of the table")
        self.padding_idx = padding_idx
        weight = torch.randn(rows, width, generator=validation.generator(generator))
        if padding_idx is not None:
            weight[padding_idx] = 0
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        """Y_ntj = W_{X_nt, j}."""
        if x.dtype not in (torch.int64, torch.int32):
            raise InputError(
                f"X of an Embedding layer is {x.dtype}; expected whole numbers, torch.int64: it is the first layer, "
                "and each number names a row of its table."
            )
        try:
            return nn.functional.embedding(x, self.weight, self.padding_idx)
        except IndexError:  # asked for afterwards: a decision by numbers would keep the step from being recorded
            raise InputError(
                f"X of an Embedding layer has the numbers {int(x.min())} to {int(x.max())}; expected 0 to "
                f"{len(self.weight) - 1}, the rows of its table."
            ) from None

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Raise InputError: a whole number has no derivative."""
        raise InputError(
            "the input of Embedding is whole numbers, which have no derivative; expected an Embedding to be the first "
            "layer: nothing is pulled back through it."
        )

    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """∂Y_ntj/∂W_ui = δ_ji [X_nt = u], so W: Σ_nt [X_nt = u] v_ntj; 0 in the padding row."""
        summed = torch.zeros_like(self.weight).index_add(0, x.flatten(), v.reshape(-1, v.shape[-1]))
        return {"weight": self._without_padding(summed)}

    def parameter_pushforward(self, tangents: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        """Y is linear in W, so t → t_{X_nt, j}, with zeros for the padding row."""
        return self._without_padding(tangents["weight"])[x]

    def sample_gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Σ_t [X_nt = u] v_ntj of each sample."""
        tokens, v = x.flatten(1), v.reshape(len(x), -1, v.shape[-1])
        summed = torch.zeros(len(x), *self.weight.shape, dtype=v.dtype, device=v.device)
        every = torch.arange(len(x), device=x.device)[:, None].expand_as(tokens)
        return {"weight": self._without_padding(summed.index_put((every, tokens), v, accumulate=True))}

    def sample_norms(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """‖∂ℓ_n/∂W‖² = Σ_ts [X_nt = X_ns] v_nt · v_ns, without the padding row: no gradient of a sample is formed."""
        tokens, v = x.flatten(1), v.reshape(len(x), -1, v.shape[-1])
        same = tokens[:, :, None] == tokens[:, None, :]
        if self.padding_idx is not None:
            same = same & (tokens != self.padding_idx)[:, :, None]
        return {"weight": ((v @ v.mT) * same).sum((1, 2)).clamp(min=0).sqrt()}

    def jacobians(self, a: Tensor, x: Tensor, y: Tensor) -> dict[str, Jacobian]:
        """∂Y_nk/∂W_uj = Σ_t A_nktj [X_nt = u]."""
        a = a.reshape(*a.shape[:2], -1, a.shape[-1])
        chosen = nn.functional.one_hot(x.flatten(1), len(self.weight)).to(a.dtype)
        return {"weight": DenseJacobian(self._without_padding(torch.einsum("kntj,ntu->nkuj", a, chosen)))}

    def _without_padding(self, rows: Tensor) -> Tensor:
        """The same numbers, (…, U, J), with zeros in the padding row."""
        if self.padding_idx is None:
            return rows
        counts = torch.ones(len(self.weight), 1, dtype=rows.dtype, device=rows.device)
        counts[self.padding_idx] = 0
        return rows * counts


class Positions(Layer):
    """Y_ntj = X_ntj + W_tj: a learned row for each position of the sequence.

    Shapes: X (N, T, J) with T ≤ U, W (U, J), Y (N, T, J).

    Args:
        num_embeddings: U, the longest sequence.
        embedding_dim: J.
        generator: of the initial W, which is normal with the deviation 0.02 (Radford et al., 2019); one with the seed 0
            if not given.

    Raises:
        InputError: for an argument out of range; in the forward pass for a longer sequence or another width.
    """

    weight: Tensor

    def __init__(self, num_embeddings: int, embedding_dim: int, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        rows = validation.whole("num_embeddings", num_embeddings, 1, remedy="give the longest sequence")
        width = validation.whole("embedding_dim", embedding_dim, 1, remedy="give the width of a position")
        self.weight = nn.Parameter(0.02 * torch.randn(rows, width, generator=validation.generator(generator)))

    def forward(self, x: Tensor) -> Tensor:
        """Y_ntj = X_ntj + W_tj."""
        rows, width = self.weight.shape
        if x.ndim != 3 or x.shape[1] > rows or x.shape[2] != width:
            raise InputError(
                f"Positions with a table of {rows} positions was given X of shape {tuple(x.shape)}; expected (samples, "
                f"positions, {width}) with at most {rows} positions: shorten the sequence, or make the table longer."
            )
        return x + self.weight[: x.shape[1]]

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """∂Y_ntj/∂X_ntj = 1, so v → v."""
        return v

    def pushforward(self, t: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """t → t."""
        return t

    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """∂Y_ntj/∂W_si = δ_ts δ_ji, so W: Σ_n v_ntj, and 0 for positions beyond the sequence."""
        return {"weight": self._padded(v.sum(0))}

    def parameter_pushforward(self, tangents: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        """t^W_tj, the same for every sample."""
        return tangents["weight"][: x.shape[1]].expand_as(y)

    def sample_gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """v_ntj itself."""
        return {"weight": self._padded(v)}

    def sample_norms(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """‖v_n‖."""
        return {"weight": torch.linalg.vector_norm(v.flatten(1), dim=1)}

    def jacobians(self, a: Tensor, x: Tensor, y: Tensor) -> dict[str, Jacobian]:
        """∂Y_nk/∂W_tj = A_nktj."""
        return {"weight": DenseJacobian(self._padded(a.transpose(0, 1)))}

    def _padded(self, rows: Tensor) -> Tensor:
        """(…, T, J) → (…, U, J), with zeros for the positions beyond T."""
        beyond = len(self.weight) - rows.shape[-2]
        return nn.functional.pad(rows, (0, 0, 0, beyond)) if beyond else rows


def _converted(module: nn.Embedding) -> Embedding | None:
    """None for settings that change the table in the forward pass or the scale of its gradient."""
    if module.max_norm is not None or module.scale_grad_by_freq or module.sparse:
        return None
    layer = Embedding(module.num_embeddings, module.embedding_dim, module.padding_idx)
    return layer.at({"weight": module.weight})


register(nn.Embedding, _converted)
