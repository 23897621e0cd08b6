"""The tools that we know, one file each, named after the tool; `podtracer_nb.tools.registry` finds them by that name.

Each file has `TOOLS`, a tuple of `Tool`. To add one is to add a file; what is not ours comes by the entry-point group
`podtracer_nb.tools`.
"""
