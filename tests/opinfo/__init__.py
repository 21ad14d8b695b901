"""`nets.verify` over PyTorch's own operations and modules, at PyTorch's own sample inputs: `python -m tests.opinfo`.

samples.py   the operations and modules, as modules of their tensors
running.py   one verification of each, on several processes
known.py     what is wrong with PyTorch 2.13 itself, each with its reason
report.py    the counts, what nobody knows of, and the page docs/pytorch.md
"""
