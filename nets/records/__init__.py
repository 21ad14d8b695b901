"""Frozen data that the other packages exchange. It imports none of them.

Verification: begin with `certificate`, the outcome of a verification.

    certificate.py            Certificate: its checks, its sentence, its table and its JSON
    check.py                  Check: one derivation of a Jacobian compared with another
    verdict.py, method.py     the enumerations Verdict and Method
    reason.py, loop_reason.py Reason and LoopReason: every outcome, with its sentence and its likely causes
    certificate_json.py       reading JSON; older_schemas.py reads the earlier schemas json_fields.py            the
    fields of the JSON; text_enum.py: an enumeration whose values are texts certificate_table.py      the table for a
    terminal location.py               the submodule that a wrong gradient comes from jacobian_view.py          a
    Jacobian by two derivations, as matrices for a picture

Training: begin with `step`, the record of one update.

    step.py                   Step, and the blocks in which the numbers of steps are kept
    contributions.py          the contributions whose weighted sum a gradient is
    sample_norms.py           the norm of each sample's own gradient
    noise_scale.py            the gradient noise scale
    layer_statistics.py       slopes, cotangents and attenuation of each layer
"""
