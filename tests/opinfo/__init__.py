"""`nets.verify` over PyTorch's own operations and modules, at PyTorch's own sample inputs: `python -m tests.opinfo`.

samples.py   the operations and modules at their sample inputs, as modules
running.py   verifies each sample, in several processes
known.py     the known faults of PyTorch 2.13, each with its reason
report.py    the counts, the unexpected outcomes, and the page docs/pytorch.md
"""
