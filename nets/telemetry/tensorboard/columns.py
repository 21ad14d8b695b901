"""Records as named columns: TensorBoard tag → a number for each step. A tag and its numbers are stated in one place,
here."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from nets.records.contributions import ContributionMetrics, metrics_of, noise_of
from nets.records.noise_scale import GradientNoise, RunningNoise
from nets.records.step import Step, StepNumbers, numbers_of

Columns = dict[str, NDArray[np.float64]]
"""Tag → shape (S,), in the order in which the tags are written."""

RECORDED = {"clipped_gradient_norm": "gradient_norm/clipped"}
"""Tags of what an update rule records of its own. A chart shows all of gradient_norm/ together."""

MOST_CURVES = 8
"""Contributions of a window with a curve each; where there are more, only the smallest and the largest have one."""


def columns(steps: Sequence[Step], noise: RunningNoise) -> Columns:
    """All numbers of S steps that share a block and a block of contributions.

    Args:
        steps: in order.
        noise: the averages before these steps, which are added to it.
    """
    (numbers,), metrics = numbers_of(steps), metrics_of([step.accumulation for step in steps])
    return {
        **step_columns(numbers),
        **({} if metrics is None else contribution_columns(steps, metrics)),
        **sample_columns(steps),
        **noise_columns(noises(steps, metrics), noise),
    }


def step_columns(numbers: StepNumbers) -> Columns:
    """ℓ, ‖G_p‖, (Σ_p ‖G_p‖²)^½, ‖Δθ_p‖ / ‖θ_p‖, η where it is known, and what the update rule records of its own."""
    return {
        "loss/train": numbers.loss,
        **_per_parameter("gradient_norm/{}", numbers.names, numbers.gradient_norm),
        "gradient_norm/total": numbers.total_gradient_norm,
        **_per_parameter("update_ratio/{}", numbers.names, numbers.update_ratio),
        **({} if np.isnan(numbers.learning_rate).any() else {"learning_rate": numbers.learning_rate}),
        **{RECORDED.get(name, name): column for name, column in numbers.recorded.items()},
    }


def contribution_columns(steps: Sequence[Step], metrics: ContributionMetrics) -> Columns:
    """The norms of the contributions to a sum of gradients, parameter by parameter, and the weights."""
    block = steps[0].accumulation.block
    assert block is not None
    # TensorBoard shortens a tag in its middle, and leaves some fifteen letters of the last part on a narrow card.
    labels = [contribution.replace("-batch", "") for contribution in block.contributions]

    def each(what: str, table: "NDArray[np.float64]", first: int = 0) -> Columns:
        if len(labels) > MOST_CURVES:
            smallest, largest = _extremes(table[:, first:])
            return {f"smallest {what}": smallest, f"largest {what}": largest}
        return {f"{what} {labels[m]}": table[:, m] for m in range(first, len(labels))}

    found: Columns = {}
    for p, name in enumerate(block.names):
        own = {
            **each("norm", metrics.norms[:, :, p]),
            **each("cosine", metrics.cosines[:, :, p], first=1),
            "agreement": metrics.agreement[:, p],
            "largest share": metrics.shares[:, :, p].max(1),
            "residual": metrics.residual[:, p],
        }
        found |= {f"accumulation/{name}/{what}": column for what, column in own.items()}
    weights = each("weight", np.array([step.accumulation.weights for step in steps]))
    return found | {f"accumulation/{what}": column for what, column in weights.items()}


def sample_columns(steps: Sequence[Step]) -> Columns:
    """Mean and largest norm of the samples' own gradients; nothing if they were not computed."""
    known = [step.sample_norms for step in steps if step.sample_norms is not None]
    if not known:
        return {}
    # Fetched from a GPU in one copy.
    found = (
        torch.stack([torch.stack([s.values.mean(1), s.values.amax(1)]) for s in known]).cpu().numpy().astype(np.float64)
    )
    means = _per_parameter("sample_norm/{}/mean", known[0].names, found[:, 0])
    largest = _per_parameter("sample_norm/{}/largest", known[0].names, found[:, 1])
    return {tag: column for pair in zip(means.items(), largest.items(), strict=True) for tag, column in pair}


def noise_columns(found: "Sequence[GradientNoise | None] | None", noise: RunningNoise) -> Columns:
    """The gradient noise scale of the averages; nothing where it is not known."""
    if found is None:
        return {}
    averages = [None if one is None else noise.add(one) for one in found]
    scales = np.array([np.nan if average is None else average.scale for average in averages])
    sizes = np.array([np.nan if average is None else average.batch_size for average in averages])
    return {"noise_scale": scales, "noise_scale/batch_size": sizes}


def noises(steps: Sequence[Step], metrics: ContributionMetrics | None) -> list[GradientNoise | None] | None:
    """`step.noise` of each of these steps; None where neither samples nor contributions are on record."""
    if steps[0].sample_norms is not None:
        return [step.noise for step in steps]
    return None if metrics is None else noise_of(metrics, [step.accumulation for step in steps])


def _per_parameter(tag: str, names: tuple[str, ...], table: "NDArray[np.float64]") -> Columns:
    return {tag.format(name): column for name, column in zip(names, table.T, strict=True)}


def _extremes(table: "NDArray[np.float64]") -> "list[NDArray[np.float64]]":
    """The smallest and the largest number of each row, NaN left out: the cosine to a zero gradient."""
    extremes = np.where(np.isnan(table), np.inf, table).min(1), np.where(np.isnan(table), -np.inf, table).max(1)
    return [np.where(np.isfinite(column), column, np.nan) for column in extremes]
