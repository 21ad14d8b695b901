"""Recurrent layers, unrolled over time: a cell reads the input at t and its own output at t − 1.

Index letters: n sample, t position, i unit of the cell, j entry of the input. h_t = Y_nt is the output at t, and
h_0 = 0 before the first. The gates at all positions follow from X and Y by one product, so that the backward pass
repeats no step of the forward pass but the elementwise ones.
Sources: Hochreiter, Schmidhuber, Neural Computation 9 (1997), with the forget gate of Gers et al. (2000); GRU: Cho et
al., arXiv:1406.1078, in the form of `torch.nn.GRU`; backward pass: Werbos, Proceedings of the IEEE 78 (1990).
"""

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from nets import validation
from nets.calculus.layer import Layer
from nets.calculus.layers.conversion import register
from nets.calculus.norms import norms_of_products
from nets.errors import InputError


class Recurrent(Layer):
    """What LSTM and GRU have in common: W x_t + b and U h_{t−1} + c for every gate, and the sums over time.

    Shapes: X (N, T, J), Y (N, T, I), W (G I, J), U (G I, I), b and c (G I,), with G gates. Parameters are named as in
    `torch.nn.LSTM`.

    Args:
        input_size: J.
        hidden_size: I.
        bias: whether there are b and c.
        generator: of the initial parameters, drawn uniformly from ±1/√I; one with the seed 0 if not given.

    Raises:
        InputError: for an argument out of range; in the forward pass for an input of another shape.
    """

    gates: ClassVar[int]
    weight_ih_l0: Tensor
    weight_hh_l0: Tensor
    bias_ih_l0: Tensor | None
    bias_hh_l0: Tensor | None

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, *, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        inputs = validation.whole("input_size", input_size, 1, remedy="give the number of features")
        units = validation.whole("hidden_size", hidden_size, 1, remedy="give the number of units")
        validation.yes_or_no("bias", bias)
        generator, rows = validation.generator(generator), self.gates * units

        def drawn(*shape: int) -> nn.Parameter:
            return nn.Parameter((2 * torch.rand(shape, generator=generator) - 1) / units**0.5)

        self.weight_ih_l0, self.weight_hh_l0 = drawn(rows, inputs), drawn(rows, units)
        self.bias_ih_l0, self.bias_hh_l0 = (drawn(rows), drawn(rows)) if bias else (None, None)

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """X_ntj → Y_nti."""

    @abstractmethod
    def preactivation_cotangents(self, v: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """v_nti → the cotangents of W x_t + b and of U h_{t−1} + c, each of shape (…, N, T, G I)."""

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """v_nti → Σ_i d_nti W_ij, with d the cotangent of W x_t + b."""
        return self.preactivation_cotangents(v, x, y)[0] @ self.weight_ih_l0

    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """W: Σ_nt d_nti x_ntj; U: Σ_nt e_nti h_n,t−1,j; b: Σ_nt d_nti; c: Σ_nt e_nti, with the cotangents d and e."""
        return {name: each.sum(0) for name, each in self.sample_gradients(v, x, y).items()}

    def sample_gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """The same sums over t alone."""
        of_input, of_state = self.preactivation_cotangents(v, x, y)
        found = {"weight_ih_l0": of_input.mT @ x, "weight_hh_l0": of_state.mT @ before(y)}
        if self.bias_ih_l0 is not None:
            found |= {"bias_ih_l0": of_input.sum(1), "bias_hh_l0": of_state.sum(1)}
        return found

    def sample_norms(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """The norms of these sums, without the sums where positions are few."""
        of_input, of_state = self.preactivation_cotangents(v, x, y)
        found = {
            "weight_ih_l0": norms_of_products(of_input, x),
            "weight_hh_l0": norms_of_products(of_state, before(y)),
        }
        if self.bias_ih_l0 is not None:
            biases = {"bias_ih_l0": of_input, "bias_hh_l0": of_state}
            found |= {name: torch.linalg.vector_norm(each.sum(1), dim=1) for name, each in biases.items()}
        return found

    def from_input(self, x: Tensor) -> Tensor:
        """W x_t + b, at every position."""
        if x.ndim != 3 or x.shape[-1] != self.weight_ih_l0.shape[1] or x.shape[1] == 0:
            raise InputError(
                f"{type(self).__name__} with {self.weight_ih_l0.shape[1]} inputs was given X of shape "
                f"{tuple(x.shape)}; expected (samples, positions, {self.weight_ih_l0.shape[1]})."
            )
        return nn.functional.linear(x, self.weight_ih_l0, self.bias_ih_l0)

    def from_state(self, h: Tensor) -> Tensor:
        """U h + c."""
        return nn.functional.linear(h, self.weight_hh_l0, self.bias_hh_l0)


class LSTM(Recurrent):
    """c_t = f_t c_{t−1} + i_t g_t and h_t = o_t tanh c_t, with c_0 = h_0 = 0.

    The gates i, f, o = σ(z) and g = tanh(z) have one row of z_t = W x_t + b + U h_{t−1} + c each, in the order i, f, g,
    o. Arguments, shapes and errors are those of `Recurrent`.
    """

    gates = 4

    def forward(self, x: Tensor) -> Tensor:
        """X_ntj → h_nti."""
        given = self.from_input(x)
        h = c = torch.zeros_like(given[:, 0, : self.weight_hh_l0.shape[1]])
        states = []
        for t in range(x.shape[1]):
            i, f, g, o = self._gates(given[:, t] + self.from_state(h))
            c = f * c + i * g
            h = o * c.tanh()
            states.append(h)
        return torch.stack(states, 1)

    def preactivation_cotangents(self, v: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """From the last position to the first, with dh_t = v_t + Uᵀ dz_{t+1}:

        dc_t = dh_t o_t (1 − tanh² c_t) + f_{t+1} dc_{t+1}; di = dc_t g_t, df = dc_t c_{t−1}, dg = dc_t i_t,
        do = dh_t tanh c_t; dz = di i (1 − i), df f (1 − f), dg (1 − g²), do o (1 − o).
        """
        i, f, g, o = self._gates(self.from_input(x) + self.from_state(before(y)))
        c = self._cells(i, f, g)
        previous, squashed = before(c), c.tanh()
        dh = dc = torch.zeros_like(v[..., 0, :])
        found = []
        for t in reversed(range(x.shape[1])):
            dh = v[..., t, :] + dh
            dc = dh * o[:, t] * (1 - squashed[:, t] ** 2) + dc
            di, df, dg, do = dc * g[:, t], dc * previous[:, t], dc * i[:, t], dh * squashed[:, t]
            slopes = [di * slope(i[:, t]), df * slope(f[:, t]), dg * (1 - g[:, t] ** 2), do * slope(o[:, t])]
            found.append(torch.cat(slopes, -1))
            dh, dc = found[-1] @ self.weight_hh_l0, dc * f[:, t]
        dz = torch.stack(found[::-1], -2)
        return dz, dz

    @staticmethod
    def _gates(z: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        i, f, g, o = z.chunk(4, -1)
        return i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()

    @staticmethod
    def _cells(i: Tensor, f: Tensor, g: Tensor) -> Tensor:
        """c_t at every position."""
        c, cells = torch.zeros_like(i[:, 0]), []
        for t in range(i.shape[1]):
            c = f[:, t] * c + i[:, t] * g[:, t]
            cells.append(c)
        return torch.stack(cells, 1)


class GRU(Recurrent):
    """h_t = (1 − u_t) m_t + u_t h_{t−1}, with h_0 = 0 and m_t = tanh(W_m x_t + b_m + r_t (U_m h_{t−1} + c_m)).

    The gates r, u = σ(W x_t + b + U h_{t−1} + c). Rows of W and U are in the order r, u, m. Arguments, shapes and
    errors are those of `Recurrent`.
    """

    gates = 3

    def forward(self, x: Tensor) -> Tensor:
        """X_ntj → h_nti."""
        given = self.from_input(x)
        h = torch.zeros_like(given[:, 0, : self.weight_hh_l0.shape[1]])
        states = []
        for t in range(x.shape[1]):
            _, u, m = self._gates(given[:, t], self.from_state(h))
            h = (1 - u) * m + u * h
            states.append(h)
        return torch.stack(states, 1)

    def preactivation_cotangents(self, v: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """From the last position to the first, with dh_t = v_t + u_{t+1} dh_{t+1} + Uᵀ e_{t+1}:

        dm = dh_t (1 − u_t) (1 − m_t²), du = dh_t (h_{t−1} − m_t) u_t (1 − u_t),
        dr = dm (U_m h_{t−1} + c_m) r_t (1 − r_t); d = (dr, du, dm) and e = (dr, du, r_t dm).
        """
        past = before(y)
        from_state = self.from_state(past)
        r, u, m = self._gates(self.from_input(x), from_state)
        reset = from_state.chunk(3, -1)[2]
        dh = torch.zeros_like(v[..., 0, :])
        of_input, of_state = [], []
        for t in reversed(range(x.shape[1])):
            dh = v[..., t, :] + dh
            dm = dh * (1 - u[:, t]) * (1 - m[:, t] ** 2)
            du = dh * (past[:, t] - m[:, t]) * slope(u[:, t])
            dr = dm * reset[:, t] * slope(r[:, t])
            of_input.append(torch.cat([dr, du, dm], -1))
            of_state.append(torch.cat([dr, du, r[:, t] * dm], -1))
            dh = dh * u[:, t] + of_state[-1] @ self.weight_hh_l0
        return torch.stack(of_input[::-1], -2), torch.stack(of_state[::-1], -2)

    @staticmethod
    def _gates(given: Tensor, from_state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        (given_r, given_u, given_m), (state_r, state_u, state_m) = given.chunk(3, -1), from_state.chunk(3, -1)
        r, u = (given_r + state_r).sigmoid(), (given_u + state_u).sigmoid()
        return r, u, (given_m + r * state_m).tanh()


def before(states: Tensor) -> Tensor:
    """(N, T, I) → the same one position later, which begins with 0: h_{t−1} at position t."""
    return torch.cat([torch.zeros_like(states[:, :1]), states[:, :-1]], 1)


def slope(gate: Tensor) -> Tensor:
    """σ′ = σ (1 − σ), from the value of σ."""
    return gate * (1 - gate)


def _converted(kind: type[Recurrent], module: nn.RNNBase) -> Recurrent | None:
    """One layer, one direction, batch first; None for other settings."""
    if (module.num_layers, module.bidirectional, module.batch_first, module.proj_size) != (1, False, True, 0):
        return None
    layer = kind(module.input_size, module.hidden_size, module.bias)
    return layer.at(dict(module.named_parameters()))


register(nn.LSTM, lambda module: _converted(LSTM, module))
register(nn.GRU, lambda module: _converted(GRU, module))
