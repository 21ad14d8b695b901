"""Why a check has its verdict: the table of all reasons, each with its sentence and, if known, its likely causes.

Code compares members, `check.reason is Reason.KINK`, and never sentences. A sentence can be changed without an effect
on any code. The field names in braces are the facts that a check fills in: `Reason.OVERFLOW.because(what=...)`.
"""

from typing import NamedTuple

from nets.records.text_enum import TextEnum


class Finding(NamedTuple):
    """A reason, and its sentence with the facts of one case filled in.

    Attributes:
        reason: None for a plain pass.
        message: the sentence, without a full stop; '' for a plain pass.
    """

    reason: "Explained | None" = None
    message: str = ""


class Explained(TextEnum):
    """An enumeration whose members have a sentence: `Reason`, and `LoopReason` for loops over micro-batches.

    Attributes:
        sentence: with the names of the facts in braces.
        likely: causes that are frequent in practice. They are experience and are not checked.
    """

    sentence: str
    likely: tuple[str, ...]

    def __new__(cls, value: str, sentence: str, *likely: str) -> "Explained":
        member = str.__new__(cls, value)
        member._value_, member.sentence, member.likely = value, sentence, likely
        return member

    def because(self, **facts: object) -> Finding:
        """The finding, with these facts in its sentence."""
        return Finding(self, self.sentence.format(**facts))


class Reason(Explained):
    """The outcomes of a check, and the mistakes that a wrong derivative may come from.

    A check has the most specific one that is known: TRANSPOSED, if a wrong derivative is the transpose of the right
    one.
    """

    # fmt: off
    # There is no derivative at the point.
    KINK = ("kink",
        "kink: the slopes to the right and to the left differ, so there is no derivative here; move the point",
        "a ReLU, an absolute value or a clamp exactly at its corner", "a maximum, a median or a sort of equal numbers",
        "a jump, as of round or sign, at the point")
    EDGE_OF_THE_DOMAIN = ("edge of the domain", "edge of the domain: {what}; move the point",
        "a logarithm, a root or a negative power at zero", "a division by a number that is zero nearby")
    OVERFLOW = ("overflow", "overflow: {what}", "an exponential of a large number", "numbers beyond 65,504 in float16")
    TURNS_WITHIN_THE_STEP = ("turns within the step",
        "the output turns within the smallest step, so no difference can be taken; rescale the inputs",
        "inputs or weights that are not normalised", "a step, written as a very steep sigmoid")
    NOT_FINITE = ("not finite", "not finite: {what}",
        "0/0 or log 0 in a branch that torch.where does not select: its gradient is NaN all the same",
        "the norm or the square root of zero", "a softmax over a row that is masked entirely")

    # The gradient is zero.
    ZERO_EVERYWHERE = ("zero up to rounding", "zero up to rounding: the {what} does not depend on it")
    ZERO_HERE = ("zero at this point", "zero, to within {bound}")

    # A fault could not have been seen.
    TOO_SMALL = ("rounding", "rounding: the gradient is too small here to see {fault}", "an activation in saturation",
        "a parameter with hardly any influence at this point")
    NO_LARGER_THAN_ROUNDING = ("no larger than rounding",
        "rounding: the output does not change here, and the gradient is no larger than the rounding of the backward "
        "pass")
    NO_SHARP_PROBE = ("no sharp probe",
        "rounding: a probe is off by {error:.3g}, and none of {tries} others is as sharp")
    SCALE_UNSEEN = ("scale unseen", "rounding: a scale that is off by less than {scale} cannot be seen here")
    ROWS_UNSEEN = ("rows unseen",
        "rounding: {count} rows or columns, with {share} % of the gradient, cannot be distinguished from zero here")
    LOWER_PRECISION = ("lower precision",
        "rounding: layer {name}, a {layer}, computes in {precision}, which is too coarse for this check",
        "a cast in the forward, such as x.float()")
    OTHER_RANDOM_NUMBERS = ("other random numbers",
        "the module draws other random numbers in {precision} than in float64")

    # What was checked, and what was not.
    DECLARED = ("declared by the caller", "declared by the caller, not checked")
    PROBED = ("by probes",
        "by probes, one zeroed entry is seen with probability {entries:.4f}, one zeroed or flipped row with "
        "{rows:.4f}, a scale that is off by {scale} for certain")
    SLOPES_ALONG = ("slopes along directions", "along {directions} random directions; {off} of {slopes} slopes are off")
    ONE_DIRECTION = ("one direction", "along one random direction{of}")
    LEFT_OUT = ("left out of the copy", "left out: {what}")
    FORWARD_MODE_MISSING = ("forward mode missing", "forward mode is required and missing: {why}")
    GRADCHECKED = ("gradcheck", "{scope}")
    GRADCHECK_OBJECTS = ("gradcheck objects", "{scope}: {objection}")

    # The module does not give the same twice.
    NOT_DETERMINISTIC = ("not deterministic",
        "not deterministic: two calls at the same point give {one} and {other} at {output}",
        "a random number generator of the module itself, which verify cannot seed",
        "state outside of buffers that each call changes")
    OTHER_SHAPE = ("other number of outputs",
        "stateful: two calls at the same point return {first:,} and {now:,} numbers",
        "a selection by a mask or by nonzero()")
    GRAD_OVERWRITTEN = (".grad overwritten",
        "stateful: the second backward pass overwrites .grad instead of adding to it",
        "a backward or a hook that sets .grad")
    OTHER_SECOND_GRADIENT = ("other second gradient",
        "stateful: the second backward pass gives a different gradient at the same point",
        "a tensor that is kept on the module or the class, and not on ctx", "a backward that counts its calls")
    OTHER_SECOND_WALK = ("other second walk",
        "stateful: a second backward pass through the same graph gives a different gradient",
        "a backward that writes into what it has saved", "a value that is kept from the first backward pass")
    OUTPUT_REMEMBERS = ("output remembers", "stateful: the output depends on an earlier call at another point",
        "a cache that is keyed by the shape of the input", "running statistics in a plain attribute")
    GRADIENT_REMEMBERS = ("gradient remembers", "stateful: the gradient depends on an earlier call at another point",
        "a tensor that is kept on the module or the class, and not on ctx",
        "a cache that is keyed by the shape of the input")

    # The derivative is wrong.
    WRONG_DERIVATIVE = ("wrong derivative", "wrong derivative")
    WRONG_BY_PROBES = ("wrong derivative by probes", "wrong derivative, found by probes")
    PROBES_FAIL = ("probes fail", "wrong derivative: probes fail, and no single wrong entry was found")
    PROBES_FAIL_UNSEARCHED = ("probes fail, unsearched",
        "wrong derivative: probes fail; the wrong entry was searched for in other parameters only")
    WRONG_SUM = ("wrong sum", "wrong derivative: {what}")
    ENTRIES_OFF = ("entries off",
        "{off:,} of {entries:,} entries of the gradient of a random sum of the outputs are off")
    BACKWARD_RAISES = ("backward raises", "the backward pass raises {error}",
        "a backward that returns another number of gradients than forward has arguments",
        "view() of an incoming gradient that is not contiguous", "arithmetic with an incoming gradient that is None")
    REENTRANT_CHECKPOINT = ("reentrant checkpoint",
        "a checkpoint with use_reentrant=True gives its gradients to .grad only: verify it with use_reentrant=False")
    NOT_LINEAR = ("backward not linear",
        "wrong derivative: the backward pass is not linear in its incoming gradient: {how}",
        "a clipped, rounded or normalised gradient in the backward", "a comparison with the incoming gradient")
    OTHER_WHERE_ALONE = ("other where alone",
        "wrong derivative: the gradient differs if no other parameter or input requires one: {how}",
        "ctx.needs_input_grad read at the wrong position")
    OVERRIDE_DIFFERS = ("override differs",
        "wrong override: {method} of `{layer}` gives {found} for {what}, where {expected} follows from {source}",
        "a subclass with another forward that inherits a faster method of its parent")
    OTHER_WITHOUT_INPUTS = ("other without inputs", "wrong derivative: the gradient differs if no input requires one",
        "ctx.needs_input_grad read at the wrong position")

    # What a wrong derivative looks like.
    NO_GRADIENT = ("no gradient arrives", "zero: no gradient arrives", "detach(), .data or item() on the way",
        "a backward that returns None for this argument")
    WRONG_SIGN = ("wrong sign", "wrong sign")
    CONSTANT_FACTOR = ("constant factor", "a constant factor {factor}")
    HALF_OF_TWO = ("half, of a batch of two", "a constant factor 1/2 (as if averaged over the batch of 2)")
    AVERAGED_OVER_THE_BATCH = ("averaged over the batch",
        "averaged over the batch: a constant factor 1/{samples}, the number of samples")
    SUMMED_OVER_THE_BATCH = ("summed over the batch",
        "summed instead of averaged over the batch: a constant factor {samples}, the number of samples")
    AVERAGED_OVER_AN_AXIS = ("averaged over an axis",
        "a constant factor 1/{size} (as if averaged instead of summed over {axis}, {size} numbers)")
    SUMMED_OVER_AN_AXIS = ("summed over an axis",
        "a constant factor {size} (as if summed instead of averaged over {axis}, {size} numbers)")
    COTANGENT_IGNORED = ("cotangent ignored",
        "the incoming gradient is ignored: the result is the same for every output")
    TRANSPOSED = ("transposed", "transposed")
    NOT_CONJUGATED = ("conjugation missing", "a conjugation is missing",
        "PyTorch's convention: the gradient of f(z) is the conjugate Wirtinger derivative")
    SHIFTED = ("shifted", "shifted by one along axis {axis} of {name}")
    SYMMETRIC_MATRIX = ("symmetric matrix",
        "the gradient of a symmetric matrix: right along symmetric directions, and off by an antisymmetric part; "
        "declare it with intended=, or parametrise the matrix by one of its triangles")
    RANDOM_NUMBERS_DRAWN_AGAIN = ("random numbers drawn again",
        "random numbers (a mask) are drawn again in the backward pass: keep those of the forward pass")
    SWAPPED = ("swapped", "the gradients of {first} and {second} swapped")
    IMPLICIT_REPARAMETRISATION = ("implicit reparametrisation",
        "an implicit reparametrisation, not the derivative of the sampler, by design: declare it with intended=")
    STRAIGHT_THROUGH = ("straight-through",
        "straight-through: an identity in the backward pass where the forward pass has steps; declare it with "
        "intended=")
    STRAIGHT_THROUGH_A_PART = ("straight-through of a part",
        "straight-through: the gradient of a part of the output, where the output itself moves in steps; declare it "
        "with intended=")
    DETACHED = ("detached",
        "a detached term, which the gradient treats as a constant; if that is intended, declare it with intended=")
    ONE_ENTRY = ("one entry", "one entry of {name}: {index}")
    ONE_SLICE = ("one row or column", "one {kind} of {name}: {number}")
    SAMPLES_LEFT_OUT = ("samples left out", "not summed over the batch: {samples} left out")
    BELOW_A_KINK = ("below a kink", "below the kink: wrong where {name} is under {bound:.3g}, right above")
    ABOVE_A_KINK = ("above a kink", "above the kink: wrong where {name} is over {bound:.3g}, right below")

    # At order=2.
    INTERMEDIATE_KEPT = ("intermediate kept",
        "the backward is not differentiable itself (once_differentiable, or an intermediate kept on ctx)")
    BACKWARD_NOT_DIFFERENTIABLE = ("backward not differentiable", "the backward is not differentiable itself")
    NOT_DIFFERENTIABLE_TWICE = ("not differentiable twice",
        "the closed form is right, and its own derivative is wrong, so it cannot be differentiated twice: {objection}",
        "torch.autograd.grad without create_graph=True in a pullback", "detach() of an argument in a pullback")
    NOT_DIFFERENTIABLE_BY_COTANGENT = ("not differentiable by the cotangent",
        "the gradient cannot be differentiated by the incoming gradient: {error}")
    WRONG_BY_COTANGENT = ("wrong by the cotangent",
        "wrong derivative: the gradient by the incoming gradient v: along {where} reverse mode gives {gives} where "
        "the gradient itself, which is linear in v, gives {right}{why}")

    # Rules of autograd that a backward must keep, besides giving the right numbers.
    WRITES_INTO_COTANGENT = ("writes into the cotangent",
        "{who} writes into grad_output: the gradient{where} is used elsewhere, too, and may be expanded from one "
        "number; clone it")
    WRONG_VMAP_RULE = ("wrong vmap rule",
        "wrong vmap rule of {functions}: under torch.func.vmap over {points} {what}; the backward pass is right, "
        "call by call")
    KEPT_FROM_AN_EARLIER_CALL = ("kept from an earlier call",
        "wrong derivative at another point, where the module is called later: along a random direction of {name} the "
        "gradient gives {gives} where differences give {right}; it looks like something that the backward pass needs "
        "is kept from an earlier call, on the class, globally or in a cache, and not on ctx")
    SAVED_TENSOR_OVERWRITTEN = ("saved tensor overwritten",
        "a tensor that was saved for {reader} is overwritten {when}, where autograd does not see it (through .data, "
        "or in a kernel): the backward pass reads other numbers than the forward pass had; write to a copy")
    INCOMING_LAYOUT = ("layout of the incoming gradient",
        "{fault} where the incoming gradient is {layout} (strides {strides}), and not where it is contiguous{values}")
    EXPANDED_INPUT = ("expanded input",
        "{fault} where {name} is expanded, as it is here, and not where every number has a place of its own{values}")
    INTERLEAVED_CALLS = ("interleaved calls",
        "{fault} with two calls before a backward, and not with one: what the backward pass needs is kept {where} "
        "and not on ctx{values}")
    MISSING_GRADIENT = ("missing gradient",
        "{fault} where the gradient that arrives at {others} is None, as in a loss that uses {alone} alone, and not "
        "where it is zero{values}")
    OUTPUT_OVERWRITTEN = ("output overwritten",
        "{fault} where its output is overwritten in place after the call: save that output with "
        "ctx.save_for_backward, so that autograd notices the write{values}")
    OTHER_LAYOUT = ("other layout",
        "the gradient is another one where {name} is contiguous: here its strides are {strides}")
    STATEFUL = ("stateful", "stateful: {what}")
    # fmt: on


PASSED = Finding()
"""The finding of a plain pass."""
