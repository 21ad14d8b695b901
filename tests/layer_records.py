"""Statistics of layers made by hand."""

from dataclasses import replace

from nets.records.layer_statistics import LayerStatistics, SlopeStatistics, Snapshot

TANH = SlopeStatistics("1", "Tanh", "1 − Y²", 0.5, (0.1, 0.2, 0.3, 0.4, 0.9), 0.0, 0.0, 0.0)


def layer(
    name: str, cotangents: tuple[float, float, float] = (1.0, 1.0, 1.0), *activations: SlopeStatistics, **other: float
) -> LayerStatistics:
    made = LayerStatistics(name, 8, activations, 1.0, 0, 0, 1.0, 1.0, cotangents)
    return replace(made, **other)  # type: ignore[arg-type]


def snapshot_of(*layers: LayerStatistics, updates: int = 900) -> Snapshot:
    return Snapshot(updates, 256, layers)
