"""Known faults of PyTorch 2.13: gradients that `nets.verify` finds wrong or missing, each with its reason.

Each reason was established without nets: derived by hand, computed by differences of many digits, or documented by
PyTorch.
"""

from dataclasses import dataclass
from enum import Enum


class Kind(str, Enum):
    """The kind of fault."""

    WRONG = "wrong"
    PRECISION = "imprecise"
    MISSING = "missing"
    DESIGN = "by design"
    NO_DERIVATIVE = "no derivative there"


@dataclass(frozen=True)
class Known:
    """A correct verdict 'fail'.

    Attributes:
        names: the operations and modules that have the fault.
        orders: the orders of the derivatives that have it, 1 or 2.
        kind: the kind of fault.
        why: the reason, in one line.
        report: the number of the issue in PyTorch's tracker; None where none was found.
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
        "the gradient with respect to the first argument is 1 at overwritten entries and 0 at kept entries",
        77128,
    ),
    Known(
        ("nn_functional_max_unpool2d", "nn_functional_max_unpool3d"),
        (1,),
        Kind.WRONG,
        "where an index occurs twice, the overwritten number also receives a gradient",
        80204,
    ),
    Known(
        ("nn_utils_parametrizations_weight_norm",),
        (2,),
        Kind.WRONG,
        "the second derivative of g v/‖v‖ with respect to v differs from that of the same formula written out",
    ),
    Known(
        ("masked_logaddexp",),
        (2,),
        Kind.WRONG,
        "NaN where one argument is masked (−∞); the second derivative of log(eˣ + 0) = x is 0",
    ),
    Known(
        ("mvlgamma_mvlgamma_p_1", "mvlgamma_mvlgamma_p_3", "mvlgamma_mvlgamma_p_5"),
        (2,),
        Kind.PRECISION,
        "the derivative of digamma has a relative error of up to 5e-10, compared with 40 digits of mpmath",
    ),
    Known(
        ("nn_functional_hardsigmoid",),
        (1,),
        Kind.PRECISION,
        "the backward multiplies by 1/6 rounded to float32, even in float64",
    ),
    Known(
        ("nn_BCELoss", "nn_functional_binary_cross_entropy"),
        (2,),
        Kind.PRECISION,
        "the second derivative adds 1e-12 to x (1 − x) and then divides by the square",
    ),
    Known(
        ("nn_functional_linear_cross_entropy_chunked", "nn_functional_linear_cross_entropy_chunked_none"),
        (2,),
        Kind.MISSING,
        "the forward computes the gradient and stores it without its graph, so the second derivative is zero",
    ),
    Known(
        ("native_layer_norm",),
        (2,),
        Kind.MISSING,
        "with a bias and no weight, the derivative of the backward raises an error",
    ),
    Known(
        ("linalg_lstsq",),
        (1,),
        Kind.MISSING,
        "the singular values that the driver gelsd returns depend on the matrix but have no gradient",
    ),
    Known(
        ("nn_InstanceNorm2d_one_sample",),
        (1,),
        Kind.WRONG,
        "with one sample, the backward reads a cotangent in channels_last layout as if it were contiguous",
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
        "the second and third output, the mean and 1/σ, are saved for the backward and have no gradient",
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
        "a norm has no second derivative at zero; PyTorch gives NaN",
    ),
    Known(
        ("nn_MultiLabelMarginLoss", "nn_MultiMarginLoss"),
        (2,),
        Kind.MISSING,
        "the derivative of the backward raises an error, although module_db declares that it exists",
    ),
    Known(
        ("nn_TransformerEncoderLayer",),
        (2,),
        Kind.MISSING,
        "on the CPU, the derivative of the backward of scaled dot product attention raises an error",
    ),
)


def known(name: str, order: int) -> Known | None:
    """The known fault of an operation or module at an order of derivatives, if it has one."""
    return next((entry for entry in KNOWN if name in entry.names and order in entry.orders), None)
