"""nets.explain: one number ∂Y_nk/∂θ, with its formula, its factors, its paths, and independent derivations.

explain.py              the entry: chooses the output and collects everything; begin here
partial_derivative.py   ∂Y_k/∂θ at one sample, which all other modules take; how θ moves its own layer's output
chain.py                the factors along the largest path; the formula with indices and with numbers
derivations.py          the number by reverse mode, forward mode and a central difference
notations.py            the number in four notations, each as Python that is executed
layer_code.py           Python for the derivatives of a layer, with a default for every layer
numbers.py              numbers as text
of_loss.py              explain_loss: ∂ℓ/∂θ of a loss, as a sum over samples and outputs
loss_symbol.py          ∂ℓ/∂Y of a loss in letters and with its numbers
loss_report.py          LossExplanation: its result as a record and as a document
report.py               Explanation: the result as a record, as text, as HTML and as files
"""
