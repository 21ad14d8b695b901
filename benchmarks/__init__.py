"""Every claim of speed beside its peers, in one process, on the same batches: `python -m benchmarks`, or `make
bench`."""
