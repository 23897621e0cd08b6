"""What exec starts in a tracer pod for each connection: hands its standard streams over to the agent there, and waits.

A program of its own, with the standard library only, sent as ``python3 -I -S -c``: importing the agent's own module
instead would cost each connection a second of the node's time.
"""

import os
import socket
import sys

if __name__ == "__main__":
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.connect(os.environ["PODTRACER_AGENT_SOCKET"])
        except OSError as error:
            sys.exit(f"the tracer's agent does not answer: {error.strerror}")
        socket.send_fds(connection, [b"x"], [0, 1, 2])
        # Ours must be closed, so that the other side sees the end when the agent closes its own.
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 1)
        connection.recv(1)
