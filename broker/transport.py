"""Kombu's Redis transport, with one client kept per channel.

Kombu makes a new client object for every single command, and a client of redis-py builds a table of
some 170 callbacks when it is made: a quarter of all that a worker's processor does for a tiny task.
The connections are pooled either way, so keeping the object changes nothing else.
"""

from __future__ import annotations

from typing import Any

from kombu.transport import redis


# Kombu has no types, so its classes are `Any` to the checker.
class Channel(redis.Channel):  # type: ignore[misc]
    """A channel that remembers its client for as long as its pool is the same."""

    _kept: Any = None

    def _create_client(self, asynchronous: bool = False) -> Any:
        if asynchronous:
            return super()._create_client(asynchronous=True)
        if self._kept is None or self._kept.connection_pool is not self.pool:
            self._kept = super()._create_client()
        return self._kept


# As above: a class of Kombu's.
class Transport(redis.Transport):  # type: ignore[misc]
    """The transport that `broker.app` names."""

    Channel = Channel
