"""Ports on 127.0.0.1: the preferred one when nobody has it, otherwise any free one."""

from __future__ import annotations

import socket

ADDRESS = "127.0.0.1"
ANY = 0


def free_port(preferred: int = ANY) -> int:
    """Find a port a server can listen on now; `preferred` is in 1..65535, or 0 for any.

    Nothing holds the port between this answer and its use: the server may still lose the race,
    and has to say so.
    """
    if preferred != ANY and _is_free(preferred):
        return preferred
    with socket.socket() as probe:
        probe.bind((ADDRESS, ANY))
        return int(probe.getsockname()[1])


def _is_free(port: int) -> bool:
    return _can_listen(port) and not _answers(port)


def _can_listen(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: a port whose last connections are still fading out is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ADDRESS, port))
        except OSError:
            return False
        return True


def _answers(port: int) -> bool:
    # macOS lets two sockets bind the same port when one of them listens on every address.
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex((ADDRESS, port)) == 0
