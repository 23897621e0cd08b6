"""Programs of the demo, each exec'd by its file inside the demo's own namespaces, never imported.

They use the standard library alone (`links.py` also pyroute2), so that none of them loads the package and its pandas.
"""
