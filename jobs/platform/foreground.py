"""`stepwell up` in a terminal: the addresses, then the merged log, until Ctrl-C."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from jobs.platform.children import Addresses
from jobs.platform.settings import PlatformSettings
from jobs.platform.up import Platform
from store.errors import StoreError
from store.hosting.errors import HostingError

# The terminal going away is a way of asking, too.
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_foreground(
    home: Path | None = None,
    settings: PlatformSettings | None = None,
    *,
    console: Console | None = None,
    platform: Platform | None = None,
) -> int:
    """Run the platform until it is told to stop; the exit code of `stepwell up`.

    0 after SIGINT, SIGTERM or SIGHUP, of which a second one kills what has not stopped yet; 1 when
    the platform cannot run, with the reason on the console. Belongs to the main thread.
    """
    console = console or Console()
    platform = platform or Platform(home, settings, console=console)
    with _signals_go_to(platform):
        try:
            return _run(platform, console)
        except (HostingError, StoreError) as error:
            console.print("Stepwell cannot run.", style="bold red", highlight=False)
            console.print(str(error), markup=False, highlight=False, soft_wrap=True)
            return 1


def _run(platform: Platform, console: Console) -> int:
    try:
        addresses = platform.start(lambda stage: console.print(f"{stage} …", style="dim"))
        if addresses is not None:
            console.print(_panel(addresses))
            platform.wait()
    finally:
        platform.stop()
    with suppress(OSError):  # the terminal may be what went away
        console.print("Stopped.", style="dim")
    return 0


@contextmanager
def _signals_go_to(platform: Platform) -> Iterator[None]:
    asked = False

    def hear(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            platform.kill()
        asked = True
        platform.request_stop()

    before = {number: signal.signal(number, hear) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _panel(addresses: Addresses) -> Panel:
    rows = {
        "API": addresses.api_url,
        "Flower": addresses.flower_url,
        "Mail": f"kept in {addresses.outbox}" if addresses.outbox else "sent by your own server",
        "Database": (
            "private PostgreSQL" if addresses.database_is_private else "STEPWELL_DATABASE_URL"
        ),
        "Redis": "private Valkey" if addresses.redis_is_private else "STEPWELL_REDIS_URL",
        "State": str(addresses.home),
    }
    table = Table.grid(padding=(0, 2))
    for name, value in rows.items():
        table.add_row(f"[dim]{name}[/dim]", value)
    return Panel(table, title="Stepwell is up", subtitle="Ctrl-C stops it", expand=False)
