"""Records made by hand."""

from collections.abc import Mapping

from nets.records.step import Step


def changed(
    step: Step,
    loss: float | None = None,
    gradient_norm: Mapping[str, float] | None = None,
    update_ratio: Mapping[str, float] | None = None,
) -> Step:
    """The same record with other numbers; parameters that are not named keep theirs."""
    norms = step.gradient_norm if gradient_norm is None else gradient_norm
    ratios = {**step.update_ratio, **(update_ratio or {})}
    ratios = {name: ratios.get(name, 1e-3) for name in norms}
    return Step.of(step.step, step.epoch, step.loss if loss is None else loss, norms, ratios, step.accumulation)
