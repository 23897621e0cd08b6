"""A real Kubernetes for the tests, on one bare Linux machine: `python -m tests.cluster up`, `… down`.

Two nodes on one kernel, node-a with containerd and node-b with CRI-O. What Debian has comes from Debian; Kubernetes and
CRI-O are compiled once into a cache. Standard library only, so that any Python starts it.
"""
