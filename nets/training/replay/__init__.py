"""Operations that are recorded once and repeated. Begin with `replayed`, which decides what is recorded.

`purity` reads the code of a layer: whether it computes with tensors and constants alone.
`recording` records and repeats on the CPU. `operation` is what is recorded, `simplification` leaves out operations that
need not be repeated, `layouts` leaves out copies, `scheduling` lets fewer results wait for the backward pass, and
`memory_plan` gives each result a place.
`kernels` and `products` choose the fastest call for each operation, and `cuda_graph` captures the operations on a GPU.
"""
