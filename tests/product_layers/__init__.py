"""The package's own layers that stand for a class of `torch.nn`, one file for each family.

A file has CASES, each with wrong versions of its layer, for tests/test_own_layers.py; and SETTINGS, further
settings of these classes, for tests/test_torch_layers.py.
"""
