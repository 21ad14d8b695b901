"""The thresholds of a diagnosis, each with its source.

The limits of layers were set beside healthy networks (digit classifiers of 1 to 20 layers, every activation, at the
start and in training). There at most 85 % of the slopes of an activation were below 0.01, at most 46 % of its units
dead, the loss of the gradient in its slopes at most 6.9-fold, and never two of these in one layer.
"""

LAYER_FACTOR = 1e3

"""Ratio of the gradient norms of two layers. In networks that train, the norms of the weights'
gradients lie within two orders of magnitude (measured: a factor of at most 20 in 11 digit classifiers of 1 to 20
layers). A healthy step changes a weight by about 1e-3 of itself; with a gradient 10⁴ times smaller that is 1e-7, about
the 6e-8 (2⁻²⁴) at which float32 rounds the change away. The threshold 10³ is just before that point."""

UPDATE_RATIO = 10.0

"""‖Δθ‖ / ‖θ‖. An update ten times as long as the parameter erases what was learnt. Ratios of about one are usual after
a start at zero, where the first update is the whole parameter."""

SATURATED_SHARE = 0.9
"""Share of the slopes of an activation below FLAT."""

SATURATED_LOSS = 5.0

"""Factor that the slopes of a saturated layer take from the gradient. Both conditions are needed:
a well-fitted output layer has flat slopes, but only where the error is zero."""

DEAD_SHARE = 0.75
"""Share of dead units. Half of them is common in a deep ReLU network that learns."""

OUTSTANDING_FACTOR = 10.0
"""Factor by which a single layer changes the gradient. A layer above it is named as the cause; otherwise all layers
together are."""
