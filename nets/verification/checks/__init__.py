"""What is checked besides the entries of the Jacobians.

preconditions.py   what must hold before a derivative can be checked: finite numbers, the same ones twice, gradients
that add up precision.py       the module in its own precision, against its copy in float64; aggregates.py judges sums
of its gradient gradcheck.py       PyTorch's gradcheck and gradgradcheck on the closed form of a `Network` not_copied.py
what the copy that is checked does not have
"""
