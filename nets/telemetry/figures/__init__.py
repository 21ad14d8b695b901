"""Pictures of a run, drawn from its records: `descent_figures` over the steps, `layer_figures` over the layers,
`jacobian_figure` of the Jacobians that a certificate has checked.
"""
