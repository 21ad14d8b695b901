"""The table of the layers: its numbers, and its width."""

from dataclasses import replace

import pytest
import torch

import nets
from nets.telemetry.diagnosis.layer_table import LEGEND, table
from nets.training.gradients.layer_statistics import snapshot
from tests.layer_records import TANH, layer, snapshot_of


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "softplus", "identity"])
@pytest.mark.parametrize("layers", [1, 3, 20, 60])
def test_the_table_fits_a_terminal(layers: int, activation: str) -> None:
    network = nets.mlp([4] * (layers + 1), activation, activation)
    data = nets.Batch(torch.ones(3, 4), torch.zeros(3, 4))
    snapshots = [snapshot(network, nets.MeanSquaredError(), data, updates) for updates in (0, 50, 123456)]
    lines = table(snapshots).splitlines()
    assert max(map(len, [*lines, *LEGEND.splitlines()])) <= 80
    assert "before the first step" in lines[1] and "after step 123,456" in lines[1]
    assert len(lines) == (3 + layers + (layers > 1) if layers <= 24 else 3 + 25 + 1)
    assert len(table(snapshots, most_rows=None).splitlines()) == 3 + layers + (layers > 1)
    if layers == 60:
        assert lines[15] == "… 36 more layers, on the Text page of TensorBoard"


def test_the_table_holds_the_numbers() -> None:
    seen = snapshot_of(
        layer("0", (6.0, 3.0, 2.0), replace(TANH, flat=0.25, dead=0.996), weight=0.5, slope=0.8),
        layer("2", (8.0, 8.0, 1e-5)),
    )
    assert table([seen]).splitlines() == [
        "Attenuation of the gradient on its way back through each layer",
        "           after step 900",
        "layer      measured predicted flat  dead",
        "0  Tanh        3.00      2.50 25 % >99 %",
        "2  Linear   8.0e+05      1.00    –     –",
        "product     2.4e+06      2.50",
    ]
