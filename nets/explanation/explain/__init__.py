"""nets.explain: one number ∂Y_nk/∂θ, with its formula, its factors, its paths, and independent derivations.

explain.py       the entry: computes everything and checks nothing twice; begin here
derivations.py   the number by reverse mode, forward mode and a central difference
notations.py     the number in four notations, each as Python that is executed
numbers.py       indices and values put into a formula
report.py        Explanation: the result as a record, as text, as HTML and as files
"""
