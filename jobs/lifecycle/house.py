"""The house: what every step of one worker process has at hand, and whether it may still claim."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any
from uuid import UUID

from broker.gates import Gates
from broker.publish import Bell
from jobs.agent.model import Models
from jobs.agent.registry import Registry
from jobs.lifecycle.loop import Loop
from jobs.lifecycle.pace import Pace
from jobs.lifecycle.passage import Passage
from jobs.lifecycle.watch import Watch
from jobs.policy.tenant_rules import TenantRule
from jobs.settings import Settings
from store import load, policy_rules
from store.doors import Doors
from store.errors import Unreachable
from store.states import Work

# How long a level is believed before it is read again, and how old it may be to count at all.
LEVEL_READ_EVERY_S, LEVEL_AGE_MAX_S = 1.0, 30.0
# How long a tenant's rules are kept, and those of how many tenants.
RULES_KEPT_S, RULEBOOKS_MAX = 1.0, 1_000


# A job, a step of it, and the epoch of the claim that makes the call.
CallKey = tuple[UUID, int, int]


@dataclass
class House:
    """One worker process. `worker_id` is its incarnation: claims are made in this name."""

    settings: Settings
    work: Work
    worker_id: UUID
    doors: Doors
    bell: Bell
    registry: Registry
    models: Models
    loop: Loop
    pace: Pace
    gates: Gates
    watch: Watch = field(default_factory=Watch)
    # The calls that are on their way through a gate.
    passages: dict[CallKey, Passage] = field(default_factory=dict)
    # What guards have said of the steps that are being run, until it is written with them.
    spoken: dict[CallKey, list[dict[str, Any]]] = field(default_factory=dict)
    # Set while this incarnation is believed; cleared when it cannot beat, or is leaving.
    may_claim: Event = field(default_factory=Event)
    # Set when a claim or commit got no answer, so that nobody knows what this incarnation holds.
    is_doubtful: Event = field(default_factory=Event)
    draw: random.Random = field(default_factory=random.SystemRandom)

    _level: int = 0
    _level_read_at: float = float("-inf")
    _rules: dict[UUID, tuple[float, tuple[TenantRule, ...]]] = field(default_factory=dict)

    def level(self, tenant_id: UUID) -> int:
        """How short of room the platform is, from 0 to 3, as of about a second ago.

        Nobody knows while Postgres is away, or nobody has counted lately: then it is 0. Threads may
        race on it: the level is read once more.
        """
        if monotonic() - self._level_read_at > LEVEL_READ_EVERY_S:
            self._level_read_at = monotonic()
            self._level = self._read_level(tenant_id)
        return self._level

    def rules(self, tenant_id: UUID) -> tuple[TenantRule, ...]:
        """The tenant's rules about calls, as of about a second ago. Raises `Unreachable`."""
        known = self._rules.get(tenant_id)
        if known is not None and monotonic() - known[0] < RULES_KEPT_S:
            return known[1]
        with self.doors.as_tenant(tenant_id) as tx:
            found = tuple(TenantRule.of(row) for row in policy_rules.list_current(tx))
        if len(self._rules) >= RULEBOOKS_MAX:
            self._rules = {}
        self._rules[tenant_id] = monotonic(), found
        return found

    def _read_level(self, tenant_id: UUID) -> int:
        try:
            with self.doors.as_tenant(tenant_id) as tx:
                found = load.read(tx)
        except Unreachable:
            return 0
        is_fresh = found.measured_age_s is not None and found.measured_age_s < LEVEL_AGE_MAX_S
        return found.level if is_fresh else 0

    @cached_property
    def cache(self) -> Path:
        return self.settings.home / "cache"
