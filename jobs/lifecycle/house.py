"""The house: what every step of one worker process has at hand, and whether it may still claim."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Event
from uuid import UUID

from broker.publish import Bell
from jobs.agent.model import Models
from jobs.agent.registry import Registry
from jobs.lifecycle.loop import Loop
from jobs.lifecycle.pace import Pace
from jobs.lifecycle.watch import Watch
from jobs.settings import Settings
from store.doors import Doors
from store.states import Work


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
    watch: Watch = field(default_factory=Watch)
    # Set while this incarnation is believed; cleared when it cannot beat, or is leaving.
    may_claim: Event = field(default_factory=Event)
    # Set when a claim or commit got no answer, so that nobody knows what this incarnation holds.
    is_doubtful: Event = field(default_factory=Event)
    draw: random.Random = field(default_factory=random.SystemRandom)

    @cached_property
    def cache(self) -> Path:
        return self.settings.home / "cache"
