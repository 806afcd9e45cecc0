"""`python -m scheduler`: the clock of the platform. Several of them share the work."""

from __future__ import annotations

import signal
import sys
from threading import Event

import structlog

from broker.app import create_app
from broker.depth import Gauge
from broker.gates import Gates
from broker.publish import Bell
from broker.settings import BrokerSettings
from scheduler.alarm import Alarm
from scheduler.bookkeeping import settle_budgets
from scheduler.census import take_census
from scheduler.dispatch import dispatch
from scheduler.reconcile import Reconciler
from scheduler.retention import retire
from scheduler.rounds import Round, walk_rounds
from scheduler.settings import SchedulerSettings
from scheduler.shares import Shares
from scheduler.ticking import tick
from scheduler.waking import wake
from store.doors import Doors
from store.errors import NotReady, Unreachable
from store.logs import configure
from store.settings import StoreSettings

log = structlog.get_logger("scheduler")


def main() -> int:
    """Walk the rounds until SIGTERM or SIGINT; 1 when the database must not be used."""
    configure()
    stop = Event()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_number, lambda *_: stop.set())
    store, broker, own = StoreSettings(), BrokerSettings(), SchedulerSettings()
    try:
        doors = Doors(store)
        doors.check_operator()
    except (NotReady, Unreachable) as error:
        log.error("scheduler cannot start", error=str(error))
        return 1
    bell, gauge, shares = Bell(create_app(broker)), Gauge(broker), Shares(broker.lane_ahead)
    gates = Gates(broker)

    ringing = Round(
        "dispatch",
        own.dispatch_every_s,
        lambda: dispatch(
            doors,
            bell,
            gauge,
            depth_max=broker.lane_depth_max,
            again_s=own.ring_again_s,
            shares=shares,
        ),
    )
    reconciler = Reconciler(doors, store.lease_s)
    rounds = [
        ringing,
        Round("reconcile", own.reconcile_every_s, reconciler.walk, then=ringing),
        Round("wake", own.wake_every_s, lambda: wake(doors), then=ringing),
        Round("tick", own.tick_every_s, lambda: tick(doors), then=ringing),
        Round("census", min(own.census_every_s, 1.0), lambda: take_census(doors, own)),
        Round("alarm", own.alarm_every_s, Alarm(gates).look),
        Round("budgets", own.settle_every_s, lambda: settle_budgets(doors)),
        Round("retire", own.retire_every_s, lambda: retire(doors, own)),
    ]
    log.info("scheduler ready")
    walk_rounds(rounds, stop, store.pulse_file)
    log.info("scheduler stopped")
    for opened in (doors, bell, gauge, gates):
        opened.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
