"""Gradient descent as an iterator of records: the arguments of `nets.descend`, checked."""

import math

import torch
from torch import Tensor

from nets.calculus.checks import expect_separate_samples
from nets.calculus.losses import Loss
from nets.calculus.network import Network
from nets.data.batch import Batch, DataSet
from nets.errors import InputError
from nets.training.async_update import AsyncUpdate
from nets.training.batches import Batches
from nets.training.fitting import expect_fit
from nets.training.gradients.accumulation import MicroBatches
from nets.training.gradients.engines import GRADIENT_ENGINES
from nets.training.gradients.source import GradientSource, GradientSpec, prepared
from nets.training.loop import Descent
from nets.training.optimizers.clipping import Clipped
from nets.training.optimizers.sgd import SGD
from nets.training.optimizers.update_rule import LearningRate, RuleState, UpdateRule, initial_state
from nets.training.parameters import TrainedParameters, trained
from nets.training.state import TrainState
from nets.training.update import Update
from nets.validation import LARGEST_WHOLE, one_of, refusal, seeded, whole, yes_or_no


def descend(
    network: Network,
    data: Batch | DataSet,
    *,
    loss: Loss,
    learning_rate: LearningRate | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    micro_batch_size: int | None = None,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    clip_norm: float | None = None,
    clip_value: float | None = None,
    engine: str = "closed_form",
    seed: int = 0,
    sample_norms: bool = False,
    rule: UpdateRule | None = None,
    state: TrainState | None = None,
    gradient_source: GradientSource | None = None,
) -> Descent:
    """Train `network` in place, one update for each record asked for.

    With G = ∂ℓ/∂θ of a batch, an update is θ ← θ + Δθ with Δθ from the update rule. Without `rule` it is SGD, see
    `nets.training.optimizers.sgd`: V ← μ V + G + λ θ, θ ← θ − η V, with V = 0 before the first update. After each
    record `parameter.grad` holds G.

    Args:
        network: is trained, starting at its present parameters. Parameters that require a gradient are changed in
            place.
        data: X (N, J) and targets; of a `DataSet` the training split. Every epoch visits all samples once, in an order
            drawn from `seed`.
        loss: ℓ(Y, T), a mean or a sum over samples.
        learning_rate: η of SGD: a number above 0; or a schedule, a function of the number of updates made before, see
            `nets.training.schedules`.
        epochs: passes over the data after which to stop.
        steps: updates after which to stop; with both given, whichever comes first.
        batch_size: samples in an update, None for all of them (full batch); the last batch of an epoch may be smaller.
        micro_batch_size: samples in a micro-batch; the gradients of a batch's micro-batches are accumulated. None for
            the whole batch at once.
        momentum: μ of SGD.
        weight_decay: λ of SGD.
        clip_norm: the largest ‖G‖ over all parameters that the rule is given, see `nets.training.optimizers.Clipped`.
        clip_value: the largest |entry| of G that the rule is given; entries are clipped before the norm.
        engine: 'closed_form' (the layers' own derivatives, see `nets.training.gradients.backpropagate`) or 'autograd'.
        seed: of the order of the samples. The trajectory depends on the initial parameters, the data and this seed
            alone.
        sample_norms: whether each record has the norm of every sample's own gradient, see `SampleNorms`.
        rule: an optimizer in place of SGD, such as `nets.training.optimizers.Adam(1e-3)`; it has its own learning rate.
        state: a descent to resume, see `TrainState`. Its parameters are copied into the network by this call. `steps`
            and `epochs` count from the beginning of that descent, and `seed` has no effect. `batch_size`,
            `micro_batch_size` and the number of samples must be those of that descent.
        gradient_source: gives G in place of the engine: the ranks of a run, or a loop with a mistake, see
            `GradientSource`.

    Returns:
        An iterator of frozen `Step` records. Its `state` is the present `TrainState`. Arguments are checked by this
        call; the first update is made with the first `next`.

    Raises:
        InputError: for an argument out of range, or data or a state that do not fit network, loss and rule.
        DivergenceError: by the `next` after the record of a step whose loss or gradient is not finite. The update of
            that step is not made.
    """
    if not isinstance(network, Network):
        raise InputError(
            f"descend was given a {type(network).__name__}; expected a nets.Network, such as nets.mlp makes."
        )
    limits = {"epochs": epochs, "steps": steps, "batch_size": batch_size, "micro_batch_size": micro_batch_size}
    for name, limit in limits.items():
        _check_limit(name, limit)
    if epochs is None and steps is None:
        raise InputError("descent was given neither epochs nor steps; expected at least one of them: say when to stop.")
    if not isinstance(loss, Loss):
        raise refusal("the loss", loss, "a Loss, such as nets.MeanSquaredError() or nets.CrossEntropy()")
    rule = _rule(rule, learning_rate, momentum, weight_decay)
    if clip_norm is not None or clip_value is not None:
        rule = Clipped(rule, clip_norm, clip_value)
    one_of("engine", engine, tuple(GRADIENT_ENGINES))
    yes_or_no("sample_norms", sample_norms)
    if gradient_source is not None and not isinstance(gradient_source, GradientSource):
        raise refusal("gradient_source", gradient_source, "an object with a method prepare(spec), see GradientSource")
    generator = seeded(seed)
    batch = _checked(data, network, loss)
    if sample_norms:
        expect_separate_samples(network, batch.inputs, "sample_norms")
    if not trained(network):
        raise InputError(
            "the network has no parameter that requires a gradient; expected at least one to descend along: add a "
            "Linear layer, or have a parameter require its gradient."
        )
    parameters = TrainedParameters(trained(network))
    rule_state = initial_state(rule, parameters.tensors)
    size = min(batch_size or len(batch), len(batch))
    sizes = {"samples": len(batch), "batch_size": size, "micro_batch_size": min(micro_batch_size or size, size)}
    if state is not None:
        _check_state(state, network, rule.kept(rule_state), sizes)
    spec = GradientSpec(network, loss, engine, micro_batch_size, sample_norms)
    gradient_of = MicroBatches().prepare(spec) if gradient_source is None else prepared(gradient_source, spec)
    batches, made = Batches(batch, size, generator), 0
    if state is not None:
        state.restore(network, rule.kept(rule_state), generator)
        batches.go_to(state.epoch, state.remaining)
        made = state.step
    kind = Update if batch.inputs.device.type == "cpu" else AsyncUpdate
    return Descent(network, batches, gradient_of, kind(parameters, rule, rule_state, made), made, steps, epochs, sizes)


def count_steps(samples: int, epochs: int | None, steps: int | None, batch_size: int | None) -> int:
    """The number of updates that `descend` makes with these arguments; epochs or steps is given."""
    in_epochs = math.inf if epochs is None else epochs * math.ceil(samples / (batch_size or samples))
    return int(min(in_epochs, math.inf if steps is None else steps))


def _checked(data: object, network: Network, loss: Loss) -> Batch:
    """The samples to train on, without graphs. Raises InputError unless they fit network and loss."""
    batch = data.train if isinstance(data, DataSet) else data
    if not isinstance(batch, Batch) or not isinstance(batch.inputs, Tensor) or not isinstance(batch.targets, Tensor):
        raise refusal("the data", data, "a nets.Batch of two tensors, inputs and targets, or a nets.DataSet")
    batch = Batch(batch.inputs.detach(), batch.targets.detach())
    network.check(batch.inputs)
    if batch.targets.layout is not torch.strided or batch.targets.device != batch.inputs.device:
        raise InputError(
            f"the targets have the layout {batch.targets.layout} and are on {batch.targets.device}; expected a dense "
            f"tensor on {batch.inputs.device}, as the inputs are: call targets.to_dense() or targets.to(…)."
        )
    expect_fit(network, loss, batch)
    return batch


def _rule(rule: object, learning_rate: LearningRate | None, momentum: float, weight_decay: float) -> UpdateRule:
    """The rule that was given, or SGD."""
    if rule is None and learning_rate is None:
        raise refusal("learning_rate", None, "a finite number above 0", "give η of SGD, such as 0.1, or give a rule")
    if rule is None:
        return SGD(learning_rate, momentum, weight_decay)  # type: ignore[arg-type]  # it is not None
    if not isinstance(rule, UpdateRule):
        raise refusal("the rule", rule, "an UpdateRule, such as nets.training.optimizers.SGD(0.1)")
    if learning_rate is not None or momentum != 0 or weight_decay != 0:
        raise InputError(
            "descend was given a rule and learning_rate, momentum or weight_decay as well; expected one of the two: "
            "these three are arguments of SGD, and a rule has its own."
        )
    return rule


def _check_state(state: object, network: Network, rule: RuleState, sizes: dict[str, int]) -> None:
    if not isinstance(state, TrainState):
        raise refusal("the state", state, "a nets.TrainState, such as Descent.state or TrainState.from_dict gives")
    state.check(network, rule, sizes)


def _check_limit(name: str, value: object) -> None:
    """A whole number from 1 up, however large, or None."""
    if value is not None:
        whole(
            name, min(value, LARGEST_WHOLE) if isinstance(value, int) else value, 1, remedy="leave it out for no limit"
        )
