"""Layers as an author outside of the package writes them: one file each, found by tests.layer_case.py.

A file has the layer, its case, and wrong versions of it.
"""
