"""A model provider to test against: a real HTTP server on loopback that speaks as OpenAI does.

    with Provider([Says("Hello."), RATE_LIMITED]) as provider:
        ...  # point STEPWELL_MODEL_BASE_URL at provider.base_url
        provider.asked  # every chat request that came in

As a process of its own: `python -m tests.provider --port 8099 --takes-s 5`.
"""

from __future__ import annotations

from tests.provider.replies import (
    OVERFLOWS,
    RATE_LIMITED,
    STUMBLES,
    Asked,
    Call,
    Hangs,
    Refuses,
    Says,
    Script,
)
from tests.provider.server import Provider

__all__ = [
    "OVERFLOWS",
    "RATE_LIMITED",
    "STUMBLES",
    "Asked",
    "Call",
    "Hangs",
    "Provider",
    "Refuses",
    "Says",
    "Script",
]
