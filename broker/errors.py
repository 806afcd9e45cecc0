"""What the broker can refuse.

BrokerError
└── BrokerDown      Redis does not answer: nothing is lost, everything is later
"""

from __future__ import annotations


class BrokerError(Exception):
    """The broker could not do what was asked; the message is meant for a person."""


class BrokerDown(BrokerError):
    """Redis does not answer."""
