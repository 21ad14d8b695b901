"""Healthy networks have no fault, neither at their start nor after two epochs."""

import pytest
import torch

import nets
from nets.data import digits
from nets.telemetry.diagnosis.gradients import diagnose
from nets.training.gradients.layer_statistics import snapshot

SEEDS = range(3)

HEALTHY = [
    *[("tanh", 1.0, layers) for layers in (1, 3, 10, 20)],
    *[("relu", 2**0.5, layers) for layers in (2, 3, 10)],
    *[("gelu", 1.5, layers) for layers in (2, 3, 10)],
    *[("sin", 1.0, layers) for layers in (2, 3, 10)],
    *[("sigmoid", 1.0, layers) for layers in (2, 3)],
    *[("softplus", 1.0, layers) for layers in (2, 3, 6)],
    *[("identity", 1.0, layers) for layers in (2, 3, 6)],
]


@pytest.mark.parametrize("output", ["identity", "tanh"])
@pytest.mark.parametrize(("activation", "gain", "layers"), HEALTHY)
def test_a_healthy_network_has_no_fault(activation: str, gain: float, layers: int, output: str) -> None:
    loss, targets = (nets.CrossEntropy(), "classes") if output == "identity" else (nets.MeanSquaredError(), "signed")
    for seed in SEEDS:
        train = digits(targets=targets, seed=seed).train
        network = nets.mlp(
            [64, *[24] * (layers - 1), 10], activation, output, gain=gain, generator=torch.Generator().manual_seed(seed)
        )
        seen = train.take(slice(0, 256))
        first = snapshot(network, loss, seen)
        steps = list(
            nets.descend(
                network, train, loss=loss, learning_rate=0.02, momentum=0.9, batch_size=64, epochs=2, seed=seed
            )
        )
        assert steps[-1].loss < steps[0].loss
        assert diagnose(steps[0], first) == {}
        assert diagnose(steps[-1], snapshot(network, loss, seen, len(steps))) == {}
