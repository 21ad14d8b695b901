"""A descent in several processes. Begin with `ranks`; `process_group` is the processes, `data_parallel` their common
gradient."""
