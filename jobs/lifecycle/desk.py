"""The desk: what taking in a job needs, and nothing that runs one."""

from __future__ import annotations

from dataclasses import dataclass, field

from broker.app import create_app
from broker.depth import Gauge
from broker.gates import Gates
from broker.publish import Bell
from broker.settings import BrokerSettings
from jobs.agent.registry import Registry
from jobs.lifecycle.admission import Lines, Tally
from jobs.lifecycle.limits import Limits
from jobs.settings import Settings
from store.doors import Doors
from store.settings import StoreSettings


@dataclass(frozen=True)
class Desk:
    """The store, the bell, the gates and the agents, as a process that takes jobs in sees them."""

    settings: Settings
    doors: Doors
    bell: Bell
    gauge: Gauge
    gates: Gates
    registry: Registry
    limits: Limits = field(default_factory=Limits)
    tally: Tally = field(default_factory=Tally)
    lines: Lines = field(default_factory=Lines)

    @classmethod
    def open(
        cls,
        settings: Settings | None = None,
        store: StoreSettings | None = None,
        broker: BrokerSettings | None = None,
    ) -> Desk:
        """Open by settings, from the environment unless given. Connects to nothing yet."""
        settings = settings or Settings()
        broker = broker or BrokerSettings()
        return cls(
            settings=settings,
            doors=Doors(store or StoreSettings()),
            bell=Bell(create_app(broker)),
            gauge=Gauge(broker),
            gates=Gates(broker),
            registry=Registry.load(settings.agents),
        )

    def close(self) -> None:
        for opened in (self.doors, self.bell, self.gauge, self.gates):
            opened.close()
