"""Why a check of an accumulated gradient has its verdict: every reason with its sentence, as in
`nets.records.reason`."""

from nets.records.reason import Explained


class LoopReason(Explained):
    """The outcomes of a check of a loop over micro-batches, and the mistakes that a wrong loop may look like.

    A check has the most specific one that is known. The names of facts are in braces.
    """

    # The gradient is wrong.
    WRONG_ACCUMULATION = ("wrong accumulation", "wrong accumulation")
    OFF_BY = ("off by a part of the norm", "wrong accumulation, off by {off} of its norm")
    NOT_A_SUM = (
        "no sum of the gradients",
        "wrong accumulation: what the loop leaves is no sum of the gradients of its micro-batches, whatever they weigh",
    )
    NOT_FINITE = ("gradient not finite", "wrong accumulation; not finite")
    NOTHING_COUNTS = (
        "nothing counts",
        "wrong accumulation; not finite: nothing in micro-batch {number} counts, so its mean is 0/0: leave it out",
    )
    NOTHING_LEFT = (
        "nothing left in .grad",
        "nothing is left in .grad: either no backward pass was made, or zero_grad came after it",
    )
    TAKEN_BY_A_HOOK = (
        "taken by a hook",
        "nothing is left in .grad: the post-accumulate-grad hook of {parameter} runs after each micro-batch and takes "
        "the gradient, as an optimizer in the backward pass does",
    )
    PARAMETERS_MISSED = ("parameters missed", "nothing arrives at {names}")
    OTHER_SOURCES = (
        "other sources",
        "the loop leaves gradients even where the loss is zero: gradients of an earlier window, weight decay, noise, "
        "or a loss of the loop's own",
    )
    IN_SINGLE_PRECISION = ("single precision", "rounding: it looks like the right sum in single precision")

    # What a wrong gradient looks like.
    SUM_FOR_MEAN = ("sum for mean", "× {count}: a sum over {count} {what} where their mean is right")
    MEAN_OF_MEANS = (
        "mean of means",
        "a mean of means: each of {count} micro-batches (or ranks) weighs 1/{count}, whatever its share",
    )
    DIVIDED_AGAIN = (
        "divided again",
        "÷ {count}: the sum of the right shares is divided by the {count} micro-batches once more",
    )
    SCALED_TWICE = ("scaled twice", "scaled twice: {how}, and again")
    BACKWARD_TWICE = ("backward twice", "× 2: backward runs twice{over}")
    UNSCALED_EACH_TIME = (
        "unscaled each time",
        "divided by the loss scale {scale:.0f} after each micro-batch: divide once, after the last",
    )
    LOSS_SCALE_LEFT = (
        "loss scale left",
        "a constant factor {factor}, such as a loss scale that is not undone",
    )
    CONSTANT_FACTOR = ("constant factor of the sum", "a constant factor {factor}")
    CLIPPED_EACH_TIME = (
        "clipped each time",
        "clipped at each micro-batch, to {bound}: clip once, after the last",
    )
    OTHER_WEIGHTS = ("other weights", "its micro-batches weigh {found} where {right} is right")
    WINDOW_LOST = ("window lost", "the last window lost: {lost} left out")
    CLEARED_INSIDE = ("cleared inside the window", "zero_grad inside the window: only {kept} left")
    PART_NOT_DIVIDED = ("part not divided", "only {kept}, and not divided")
    LEFT_OUT = ("micro-batch left out", "micro-batch {number} left out")
    LEFTOVER = ("leftover divided", "leftover micro-batches divided by {full}: there are {kept}")
    SUM_OVER_RANKS = ("sum over ranks", "a sum over {ranks} ranks, each with the mean of its own samples")
    MEAN_OVER_RANKS = ("mean over ranks", "a mean over {ranks} ranks, whatever the share of their samples")
    ONE_RANK = (
        "one rank",
        "never summed over ranks: only the micro-batches of one of {ranks} ranks ({own})",
    )

    # The whole batch cannot be divided into micro-batches.
    BATCH_STATISTICS = (
        "batch statistics",
        "BatchNorm statistics: each micro-batch is normalised by its own mean and variance, not by those of the "
        "whole batch",
    )
    SAMPLES_INTERACT = (
        "samples interact",
        "the output of a sample depends on the other samples in its batch, which are others in a micro-batch",
    )
    NO_SUM_OVER_SAMPLES = (
        "no sum over the samples",
        "the loss is no sum over the samples: its value for one micro-batch depends on the others",
    )
    WEIGHTS_UNKNOWN = ("weights unknown", "weights unknown: {why}")
    RANDOM_MODULE = (
        "random module",
        "not deterministic: the module draws random numbers, as dropout does, others for each micro-batch than for the "
        "whole batch{mode}",
    )

    # Calls change what later calls give.
    PARAMETER_CHANGED = (
        "parameter changed",
        "stateful: {who} changed {parameter}; expected a loop that leaves its gradient in .grad and makes no step",
    )
    NOT_REPRODUCIBLE = (
        "not reproducible",
        "stateful: with all state put back, a second call of module and loss gives another gradient, because of "
        "something that cannot be observed; expected the same gradient at each call",
    )
    STATE_MATTERS = (
        "state matters",
        "stateful: each call of module and loss changes {what}, and the gradient of a micro-batch depends on it",
    )
    SECOND_CALL_FAILS = ("second call fails", "stateful: the closure cannot be called a second time: {error}")
    SECOND_CALL_DIFFERS = (
        "second call differs",
        "stateful: a second call of the closure leaves another gradient, though .grad was cleared: it changes {what}",
    )
    EARLIER_WINDOW = (
        "earlier window",
        "stateful: gradients of an earlier window: the first call of the closure leaves nothing, and the second "
        "leaves what the first one found, kept in {where}",
    )
    EARLIER_WINDOW_ADDED = (
        "earlier window added",
        "stateful: gradients of an earlier window are added to those of the next, though .grad was cleared: the "
        "closure keeps them in {where}",
    )
