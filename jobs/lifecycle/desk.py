"""The desk: what taking in a job needs, and nothing that runs one."""

from __future__ import annotations

from dataclasses import dataclass

from broker.app import create_app
from broker.depth import Gauge
from broker.publish import Bell
from broker.settings import BrokerSettings
from jobs.agent.registry import Registry
from jobs.settings import Settings
from store.doors import Doors
from store.settings import StoreSettings


@dataclass(frozen=True)
class Desk:
    """The store, the bell and the agents, as one process that takes jobs in sees them."""

    settings: Settings
    doors: Doors
    bell: Bell
    gauge: Gauge
    registry: Registry

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
            registry=Registry.load(settings.agents),
        )

    def close(self) -> None:
        for opened in (self.doors, self.bell, self.gauge):
            opened.close()
