"""Alarm: say once that more calls go out than were wanted, and once that this is over."""

from __future__ import annotations

import structlog

from broker.gates import Gates

log = structlog.get_logger(__name__)


class Alarm:
    """What one scheduler has warned of. Several of them each say it."""

    def __init__(self, gates: Gates) -> None:
        self._gates = gates
        self._warned_of: set[str] = set()

    def look(self) -> None:
        """Look at every gate; raises `BrokerDown`."""
        high = {gate.dependency: gate for gate in self._gates.look() if gate.is_amplified}
        for name in sorted(high.keys() - self._warned_of):
            calls = round(high[name].amplification() or 0, 2)
            above = high[name].amplification_alert
            log.warning("dependency.amplified", dependency=name, calls_a_wish=calls, above=above)
        for name in sorted(self._warned_of - high.keys()):
            log.info("dependency.no_longer_amplified", dependency=name)
        self._warned_of = set(high)
