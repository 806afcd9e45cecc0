"""The preferred port when nobody has it, otherwise any free one."""

from __future__ import annotations

import socket

import pytest

from store.hosting.loopback import free_port


def test_a_free_preferred_port_is_taken() -> None:
    port = free_port()
    assert 0 < port < 65536
    assert free_port(port) == port


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_a_busy_port_is_left_alone(address: str) -> None:
    with socket.socket() as busy:
        busy.bind((address, 0))
        busy.listen()
        assert free_port(busy.getsockname()[1]) != busy.getsockname()[1]


def test_a_port_whose_connections_are_fading_out_is_free() -> None:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            accepted, _ = server.accept()
            accepted.close()  # the side that closes first is the one that waits
    assert free_port(port) == port
