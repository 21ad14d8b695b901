"""Records on the TensorBoard page. Begin with `board`, which says which tags there are; `columns` gives each tag its
numbers.

`events` is the event file and `encoding` its bytes; `buffered_writer` collects what is to be written, `shutdown` makes
SIGTERM an exit, and `directory` names the directory of a run.
"""
