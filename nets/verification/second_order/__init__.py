"""order=2: the gradient of the gradient. Begin with `certificate`.

- `certificate`: G and its derivatives, each against other derivations.
- `gradient_module`: a module whose output is the gradient of another, and the problem of verifying it.
- `held_constant`: whether a backward that treats something as constant explains a wrong second derivative.
- `incoming_gradient`: the gradient differentiated by the gradient that reaches the output.
"""
