"""Is a derivative right? A module at a point, its derivations of one Jacobian, and a certificate.

verify.py        the entry, which reads as a checklist; begin here
entrywise.py     the certificate of a module that is checked entry by entry; probed.py, of a larger one
arguments.py     the arguments of `verify`; progress.py, the line that a long verification shows
attempt.py       tries a derivation that a module may not have
chosen.py        the verification that the settings of a run describe
side_by_side.py  two derivations of a network's Jacobians, arranged for a picture

problem/         the module at a point, as a function of named tensors, on copies
derivations/     closed form, reverse and forward mode, complex step, differences, other engines
noise/           what rounding does to outputs and gradients
compare/         derivations compared with each other: the verdict probing/         random directions, for modules that
are too large for every entry fault_patterns/  the mistakes that a wrong Jacobian may come from checks/          what is
checked besides entries: preconditions, low precision, gradcheck contract/        rules of autograd that a backward must
keep, besides giving the right numbers second_order/    the gradient of the gradient accumulation/
`check_accumulation`: is the sum over micro-batches the gradient of the whole batch?
"""
