"""A household for the engine's tests, and a desk to hand jobs in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from broker.settings import BrokerSettings
from jobs.lifecycle.admission import Lines
from jobs.lifecycle.desk import Desk
from jobs.settings import Settings
from tests.asking import Asker
from tests.conftest import Database
from tests.housing import Household
from tests.processes import PROGRAMS, Viewer

OpenHouse = Callable[..., Household]


@pytest.fixture(autouse=True)
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the tools of the tests write down what they did to the world."""
    monkeypatch.setenv("TEST_LEDGER", str(tmp_path / "ledger"))
    return tmp_path / "ledger"


@pytest.fixture
def programs() -> str:
    """The modules whose agents and pipelines are served; a file of tests may name others."""
    return PROGRAMS


@pytest.fixture
def viewer(
    programs: str, tmp_path: Path, database: Database, broker_settings: BrokerSettings
) -> Iterator[Viewer]:
    settings = Settings(agents=programs, home=tmp_path)
    # Tests that write another census down want it read at once.
    desk = replace(Desk.open(settings, database.settings, broker_settings), lines=Lines(kept_s=0.0))
    yield Viewer(desk)
    desk.close()


@pytest.fixture
def open_house(
    programs: str, viewer: Viewer, redis_url: str, tmp_path: Path
) -> Iterator[OpenHouse]:
    opened: list[Household] = []

    def make(**settings: Any) -> Household:
        chosen = Settings(agents=programs, home=tmp_path, **settings)
        opened.append(Household(viewer, redis_url, chosen))
        return opened[-1]

    yield make
    for household in opened:
        household.close()


@pytest.fixture
def household(open_house: OpenHouse) -> Household:
    return open_house()


@pytest.fixture
def asker(viewer: Viewer) -> Asker:
    return Asker(viewer.desk.doors, viewer.tenant_id)
