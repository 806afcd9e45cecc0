"""What the truth can refuse, named for the reaction it asks for.

StoreError
├── NotFound            nothing by that id behind this tenant's wall: correct the id
├── TakenOver           the step is no longer this caller's: stop, whatever it was doing
├── TooLarge            more bytes than the limit allows: send less, or raise the limit
├── Unreachable         Postgres does not answer: wait, or look at the server
│   └── Busy            every connection of this process is in use; nothing was sent
└── NotReady            Postgres answers, but must not be used as it is: do what the text says
"""

from __future__ import annotations


class StoreError(Exception):
    """The store could not do what was asked; the message is meant for a person."""


class NotFound(StoreError):
    """Nothing by that id behind this tenant's wall."""


class TakenOver(StoreError):
    """The step is no longer this caller's."""


class TooLarge(StoreError):
    """More bytes than the limit allows."""


class Unreachable(StoreError):
    """Postgres does not answer."""


class Busy(Unreachable):
    """Every connection of this process is in use; nothing was sent."""


class NotReady(StoreError):
    """Postgres answers, but its roles or its schema are not what this version needs."""
