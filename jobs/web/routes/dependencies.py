"""Dependencies: what agents call outside, how the gates before it stand, and what if one slows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Annotated

from fastapi import APIRouter, Query

from broker.what_if import foresee
from jobs.agent import agent as declared
from jobs.agent.model import Models
from jobs.agent.registry import Program
from jobs.agent.tool import Tool
from jobs.lifecycle.desk import Desk
from jobs.web.asked import TheDesk, TheTenant
from jobs.web.shapes import Page
from jobs.web.shapes_of_dependencies import Dependency, Use, WhatIf
from store import workers
from store.errors import NotFound
from store.states import Work

router = APIRouter(tags=["platform"])

FACTOR_MAX = 1_000.0
MODEL = "model"


@router.get(
    "/dependencies", responses={503: {}}, summary="What agents call outside, and how its gate is"
)
def list_dependencies(desk: TheDesk, _: TheTenant) -> Page[Dependency]:
    """Those that agents served here name, and those that anybody called within a day."""
    used, gates = find_uses(desk), {each.dependency: each for each in desk.gates.look()}
    names = sorted({*used, *gates})
    return Page(data=[Dependency.of(name, used.get(name, []), gates.get(name)) for name in names])


@router.get(
    "/dependencies/what-if",
    responses={404: {}, 503: {}},
    summary="What would happen to everybody if one took so many times as long",
)
def ask_what_if(
    desk: TheDesk,
    tenant_id: TheTenant,
    name: Annotated[str, Query(min_length=1, max_length=200)],
    factor: Annotated[float, Query(gt=0, le=FACTOR_MAX)] = 10.0,
) -> WhatIf:
    """The load of the last hour is replayed against the gates; nothing is changed or called."""
    with desk.doors.as_tenant(tenant_id) as tx:
        slots = sum(each.slots for each in workers.list_live(tx) if each.work is Work.WAITS)
    gates = desk.gates.look()
    seen = foresee(name, factor, gates, slots)
    if seen is None:
        called = ", ".join(each.dependency for each in gates) or "none"
        raise NotFound(f"Nobody has called {name!r} within a day. Called were: {called}.")
    return WhatIf.of(seen, find_uses(desk).get(name, []))


def find_uses(desk: Desk) -> dict[str, list[Use]]:
    """By dependency, which agents call it, and with what."""
    used: dict[str, list[Use]] = defaultdict(list)
    models = Models(desk.settings)
    for name in sorted(desk.registry.agents):
        for dependency, use in _uses_of(desk.registry.agents[name], models):
            used[dependency].append(use)
    return dict(used)


def _uses_of(program: Program, models: Models) -> Iterator[tuple[str, Use]]:
    steps: Sequence[object] = ()
    if isinstance(program, declared.Agent):
        steps = program.tools
        provider = models.dependency_of(program, None)
        if provider is not None:
            yield provider, Use(agent=program.name, by=MODEL, is_optional=False)
    else:
        steps = program.steps
    for step in steps:
        if isinstance(step, Tool) and step.dependency is not None:
            use = Use(agent=program.name, by=step.name, is_optional=step.optional)
            yield step.dependency, use
