"""Modules that are too large to check entry by entry: random directions, and the search for what is wrong.

coverage.py         one point by probes → a `Check`, with what the probes would have seen; begin here
prober.py           the gradient of vᵀY times a direction, against a difference along it
bisection.py        from a probe that fails to the wrong entry, and the mistake that it shows
forward_probes.py   forward mode along random directions
submodules.py       which submodule of a deep module has a wrong gradient
layers.py           which layer of a `Network` has a wrong pullback or wrong gradients
"""
