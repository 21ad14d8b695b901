"""Faults of layers."""

import torch
import torch.nn.functional as F
from torch import nn

from nets.records.reason import Reason
from tests.building import Written, built, fixed, normal, shaped
from tests.wrong.modules import Attention, ByHand, Normalized, Recurrent, conv, conv_weight, softmax_error
from tests.wrong.record import WrongBackward, of_input

REPEATED = fixed(1, 4, 1, 0, 1, 4)
LABELS = fixed(2, 0, 3)

LAYERS = [
    WrongBackward(
        "softmax: diagonal only",
        of_input(lambda x: x.softmax(-1), lambda g, x: g * x.softmax(-1) * (1 - x.softmax(-1))),
        None,
        "input",
    ),
    WrongBackward(
        "log-softmax: upstream not summed",
        of_input(lambda x: x.log_softmax(-1), lambda g, x: g - x.softmax(-1)),
        None,
        "input",
    ),
    WrongBackward(
        "cross-entropy: sum for mean",
        of_input(F.cross_entropy, lambda g, x, t: (g * softmax_error(x, t), None), shaped(3, 4), LABELS),
        Reason.SUMMED_OVER_THE_BATCH,
        parameter="input[0]",
    ),
    WrongBackward(
        "cross-entropy: target forgotten",
        of_input(F.cross_entropy, lambda g, x, t: (g * x.softmax(-1) / 3, None), shaped(3, 4), LABELS),
        parameter="input[0]",
    ),
    WrongBackward(
        # The gradient counts on a log_softmax before it, which takes a term away that is left in.
        "connectionist temporal: torch's own, by log-probabilities",
        lambda r: (
            nn.CTCLoss(),
            (normal(r, 4, 1, 3).log_softmax(-1), torch.tensor([[1, 2]]), torch.tensor([4]), torch.tensor([2])),
        ),
        None,
        "input[0]",
    ),
    WrongBackward(
        "normalize: projection forgotten",
        of_input(lambda x: F.normalize(x, dim=-1), lambda g, x: g / x.norm(dim=-1, keepdim=True)),
        None,
        "input",
    ),
    *(
        WrongBackward(
            f"{kind} norm: {detached} detached",
            lambda r, over=over, detached=detached: (
                Normalized(over, detached, normal(r, 4), normal(r, 4)),
                (normal(r, 3, 4),),
            ),
            None,
            "input",
        )
        for kind, over in (("layer", "features"), ("batch", "batch"))
        for detached in ("mean", "variance", "both")
    ),
    WrongBackward(
        "layer norm: weight from X, not normalized",
        lambda r: (
            ByHand(
                lambda x, w: F.layer_norm(x, (4,)) * w,
                lambda g, x, w: (torch.func.vjp(lambda v: F.layer_norm(v, (4,)) * w, x)[1](g)[0], (g * x).sum(0)),
                weight=normal(r, 4),
            ),
            (normal(r, 3, 4),),
        ),
        None,
        "weight",
    ),
    WrongBackward(
        "weight norm: norm detached",
        lambda r: (
            Written(lambda m, x: x @ (m.v / m.v.norm(dim=1, keepdim=True).detach()).T, v=normal(r, 2, 3)),
            (normal(r, 4, 3),),
        ),
        None,
        "v",
    ),
    *(
        WrongBackward(
            f"convolution: {name}",
            lambda r, rule=rule: (
                ByHand(lambda x, w, b: conv(x, w, b), rule, weight=normal(r, 3, 2, 3), bias=normal(r, 3)),
                (normal(r, 2, 2, 5),),
            ),
            None,
            parameter,
        )
        for name, parameter, rule in (
            (
                "weight reversed",
                "weight",
                lambda g, x, w, b: (
                    F.conv_transpose1d(g, w, padding=1),
                    conv_weight(g, F.pad(x, (1, 1))).flip(-1),
                    g.sum((0, 2)),
                ),
            ),
            (
                "border repeated in the weight's gradient",
                "weight",
                lambda g, x, w, b: (
                    F.conv_transpose1d(g, w, padding=1),
                    conv_weight(g, torch.cat([x[..., :1], x, x[..., -1:]], -1)),
                    g.sum((0, 2)),
                ),
            ),
            (
                "input's kernel not reversed",
                "input",
                lambda g, x, w, b: (
                    conv(g, w.transpose(0, 1)),
                    conv_weight(g, F.pad(x, (1, 1))),
                    g.sum((0, 2)),
                ),
            ),
            (
                "bias not summed over positions",
                "bias",
                lambda g, x, w, b: (
                    F.conv_transpose1d(g, w, padding=1),
                    conv_weight(g, F.pad(x, (1, 1))),
                    g.sum(0)[:, 0],
                ),
            ),
        )
    ),
    *(
        WrongBackward(
            f"attention: {mistake}",
            lambda r, mistake=mistake: (Attention(r, mistake), (normal(r, 3, 4),)),
        )
        for mistake in ("scores detached", "scale forgotten", "keys detached")
    ),
    WrongBackward(
        "embedding: scaled by frequency",
        lambda r: (nn.Embedding(5, 3, scale_grad_by_freq=True, _weight=normal(r, 5, 3)), (REPEATED(r),)),
        None,
        "weight",
    ),
    WrongBackward(
        "embedding: repeated index not added up",
        lambda r: (
            ByHand(
                lambda i, w: w[i],
                lambda g, i, w: (None, torch.zeros_like(w).index_put((i,), g)),
                weight=normal(r, 5, 3),
            ),
            (REPEATED(r),),
        ),
        None,
        "weight",
    ),
    WrongBackward(
        "dropout: mask not applied",
        of_input(lambda x: F.dropout(x, 0.5), lambda g, x: 2 * g, shaped(4, 5)),
        None,
        "input",
    ),
    WrongBackward(
        "dropout: another mask",
        of_input(lambda x: F.dropout(x, 0.5), lambda g, x: F.dropout(g, 0.5), shaped(4, 5)),
        None,
        "input",
    ),
    *(
        WrongBackward(
            f"{kind}: {what} cut before step 2",
            built(lambda cell=cell: Recurrent(cell(2, 3), 2), shaped(4, 1, 2)),
        )
        for kind, what, cell in (("rnn", "state", nn.RNNCell), ("lstm", "memory", nn.LSTMCell))
    ),
]
