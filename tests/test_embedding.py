"""The padding row of an Embedding: the output changes with it, and its gradient is zero by design, as in torch."""

import pytest
import torch
from torch import Tensor

import nets
from nets.calculus.layers import Embedding, Linear, Tanh
from tests.layer_case import as_class

X = torch.tensor([[1, 0, 3], [1, 1, 2]])


class PaddingTrained(Embedding):
    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        rows = torch.zeros_like(self.weight)
        return {"weight": rows.index_add(0, x.flatten(), v.reshape(-1, v.shape[-1]))}


def network(kind: type[Embedding] = Embedding) -> nets.Network:
    embedding = as_class(kind, Embedding(5, 4, padding_idx=1))
    with torch.no_grad():
        embedding.weight[1] = torch.linspace(-1, 1, 4)
    return nets.Network([embedding, Tanh(), Linear(4, 2)]).double()


def failed(certificate: nets.Certificate) -> set[tuple[str, str]]:
    return {(str(c.oracle), str(c.against)) for c in certificate.checks if c.verdict == "fail"}


def test_an_embedding_passes_if_the_gradient_of_its_table_is_declared() -> None:
    assert nets.verify(network(), X, intended=("0.weight",)).passed
    assert ("closed form", "reverse mode") not in failed(nets.verify(network(), X))


@pytest.mark.usefixtures("fast_gradcheck")
def test_a_padding_row_that_is_trained_differs_from_reverse_mode() -> None:
    certificate = nets.verify(network(PaddingTrained), X)
    assert ("reverse mode", "central difference") in failed(certificate)
    found = certificate.decisive
    assert found is not None and (found.parameter, found.parameter_index[0]) == ("0.weight", 1)
    place = certificate.location
    assert place is not None and (place.module, place.kind, place.by) == ("0", "PaddingTrained", ("weight",))


def test_the_padding_row_stays_unchanged_by_each_engine() -> None:
    for engine in ("closed_form", "autograd"):
        trained = network()
        before = trained.layers[0].weight.detach().clone()
        loss = nets.MeanSquaredError()
        batch = nets.Batch(X, torch.ones(2, 3, 2, dtype=torch.float64))
        list(nets.descend(trained, batch, loss=loss, engine=engine, learning_rate=0.5, steps=3))
        moved = (trained.layers[0].weight.detach() - before).abs().sum(1) > 0
        assert moved.tolist() == [True, False, True, True, False]
