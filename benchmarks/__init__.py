"""Measures each claim of speed against its peers, in one process, on the same batches: `python -m benchmarks`, or
`make bench`."""
