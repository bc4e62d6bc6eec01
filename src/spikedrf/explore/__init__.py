"""A local page that redraws the theory while its parameters are dragged.

The way of the data: the query of an address <-> `state.State` -> `view.view`, a plain function ->
`page`, which draws it with Bokeh and is the only part that needs it.
"""
