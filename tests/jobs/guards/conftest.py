"""A household that serves the agents of a test beside the common ones."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from jobs.agent.registry import Program
from tests.housing import Household
from tests.jobs.lifecycle.conftest import household, ledger, open_house, programs, viewer

__all__ = ["household", "ledger", "open_house", "programs", "serve", "viewer"]

Serve = Callable[..., None]


@pytest.fixture
def serve(household: Household) -> Serve:
    """Serve these programs from here on, in the place of others of their names."""

    def deploy(*programs: Program) -> None:
        for program in programs:
            household.house.registry.agents[program.name] = program
            household.viewer.desk.registry.agents[program.name] = program

    return deploy
