"""What is known of PyTorch 2.13 itself: gradients that `nets.verify` finds wrong or missing, each with its reason.

A reason stands here only after it was derived without nets: by hand, by differences of many digits, or from PyTorch's
    own words.
"""

from dataclasses import dataclass
from enum import Enum


class Kind(str, Enum):
    """What a wrong or missing gradient is."""

    WRONG = "wrong"
    PRECISION = "imprecise"
    MISSING = "missing"
    DESIGN = "by design"
    NO_DERIVATIVE = "no derivative there"


@dataclass(frozen=True)
class Known:
    """A verdict 'fail' that is right.

    Attributes:
        names: of the operations and modules.
        orders: of the derivatives.
        kind: what is the matter.
        why: in one line.
        report: the number of the report in PyTorch's tracker, where one was found.
    """

    names: tuple[str, ...]
    orders: tuple[int, ...]
    kind: Kind
    why: str
    report: int | None = None


KNOWN = (
    Known(
        ("as_strided_scatter",),
        (1, 2),
        Kind.WRONG,
        "the gradient by the first argument is 1 where that was overwritten, and 0 where it was kept",
        77128,
    ),
    Known(
        ("nn_functional_max_unpool2d", "nn_functional_max_unpool3d"),
        (1,),
        Kind.WRONG,
        "where an index stands twice, the gradient also goes to the number that was overwritten",
        80204,
    ),
    Known(
        ("nn_utils_parametrizations_weight_norm",),
        (2,),
        Kind.WRONG,
        "the second derivative by v of g v/‖v‖ is another one than that of the same formula written out",
    ),
    Known(
        ("masked_logaddexp",),
        (2,),
        Kind.WRONG,
        "NaN where one of the two is masked, that is −∞; log(eˣ + 0) = x has the second derivative 0",
    ),
    Known(
        ("mvlgamma_mvlgamma_p_1", "mvlgamma_mvlgamma_p_3", "mvlgamma_mvlgamma_p_5"),
        (2,),
        Kind.PRECISION,
        "the derivative of digamma is off by up to 5e-10 of itself, by 40 digits of mpmath",
    ),
    Known(
        ("nn_functional_hardsigmoid",),
        (1,),
        Kind.PRECISION,
        "the backward multiplies by 1/6 rounded to float32, also in float64",
    ),
    Known(
        ("nn_BCELoss", "nn_functional_binary_cross_entropy"),
        (2,),
        Kind.PRECISION,
        "the second derivative adds 1e-12 to x (1 − x) before it divides by its square",
    ),
    Known(
        ("nn_functional_linear_cross_entropy_chunked", "nn_functional_linear_cross_entropy_chunked_none"),
        (2,),
        Kind.MISSING,
        "the gradient is computed in the forward and kept without its graph, so its own gradient is zero",
    ),
    Known(
        ("native_layer_norm",),
        (2,),
        Kind.MISSING,
        "with a bias and without a weight the derivative of the backward raises",
    ),
    Known(
        ("linalg_lstsq",),
        (1,),
        Kind.MISSING,
        "the singular values that the driver gelsd returns have no gradient, though they depend on the matrix",
    ),
    Known(
        ("nn_InstanceNorm2d_one_sample",),
        (1,),
        Kind.WRONG,
        "with one sample the gradient takes an incoming gradient in channels_last for a contiguous one",
    ),
    Known(
        (
            "native_layer_norm",
            "native_group_norm",
            "native_batch_norm",
            "_native_batch_norm_legit",
            "_batch_norm_with_update",
        ),
        (1,),
        Kind.DESIGN,
        "the second and third outputs, the mean and 1/σ, are kept for the backward and have no gradient of their own",
    ),
    Known(
        ("normal", "normal_number_mean"),
        (1,),
        Kind.DESIGN,
        "a sample has no gradient by mean and standard deviation; torch.distributions.Normal.rsample has one",
    ),
    Known(
        ("linalg_norm_subgradients_at_zero",),
        (2,),
        Kind.NO_DERIVATIVE,
        "a norm has no second derivative at zero, where PyTorch gives NaN",
    ),
    Known(
        ("nn_MultiLabelMarginLoss", "nn_MultiMarginLoss"),
        (2,),
        Kind.MISSING,
        "the backward has no derivative, and raises; the table of modules says that it has one",
    ),
    Known(
        ("nn_TransformerEncoderLayer",),
        (2,),
        Kind.MISSING,
        "the backward of scaled dot product attention on the CPU has no derivative, and raises",
    ),
)


def known(name: str, order: int) -> Known | None:
    """What is known of the derivatives of that order of an operation or module."""
    return next((entry for entry in KNOWN if name in entry.names and order in entry.orders), None)
