"""`podtracer`: the grammar in a shell. Results go to standard output, everything about them to standard error.

A file a subject: `entry` turns words into an exit status, the others carry out one kind of request each, or say how it
went. What is heavy is imported by the command that needs it.
"""

from podtracer_nb.cli.entry import main

__all__ = ["main"]
