"""What is checked besides the entries of the Jacobians.

preconditions: what must hold before a derivative can be checked. Begin here.
kept_state: what a module keeps between calls. not_copied: what the copy that is checked does not have.
linearity: a backward pass gives the sum of the Jacobian's rows, for all points together and for some of them alone.
precision: the module in its own precision, against its copy in float64; aggregates: sums of its gradient.
gradcheck: PyTorch's gradcheck and gradgradcheck on the closed form of a `Network`.
overrides: the other methods of a layer, against its forward, its pullback and its gradients.
layer_in_place: a layer at the input that it has within its network.
answers: checks that answer yes or no.
"""
