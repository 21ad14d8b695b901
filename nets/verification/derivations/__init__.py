"""Independent derivations of one Jacobian: ∂Y_m/∂p of a point p, flattened to shape (M, P).

    by_layers.py      the chain rule over the layers' own derivatives, of a `Network`
    reverse_mode.py   the module's own backward pass, row by row, and the same under vmap
    forward_mode.py   dual numbers, along each entry or along given directions
    complex_step.py   Im f(p + ih)/h; analytic.py refuses operations for which that is no derivative
    columns.py        a Jacobian from one directional derivative for each entry; the two above share it
    user_jacobian.py  the caller's own closed form, and the caller's engines
    differences.py    central differences of every entry, with error bars; begin here
    refinement.py     one column by differences, at many steps
    variable.py       the point that differences move; slopes.py, two evaluations and the slopes that they show
    kinks.py          points without a derivative; domain.py, points at the edge of a module's domain
    engines/          a `Network` computed once more by other libraries

A derivation that a module may lack is tried by `nets.verification.attempt` and is None where it is missing.
"""
