"""The platform itself: its agents and workers, whether it lives and whether it can work."""

from __future__ import annotations

from fastapi import APIRouter

from jobs.agent import agent as declared
from jobs.agent.registry import Program
from jobs.agent.tool import Tool as DeclaredTool
from jobs.web.asked import TheDesk, TheTenant
from jobs.web.shapes import Agent, Page, Readiness, Tool, Worker
from store import workers

health = APIRouter(tags=["health"])
router = APIRouter(tags=["platform"])


@health.get("/healthz", summary="Whether this process lives")
def tell_alive() -> dict[str, str]:
    return {"status": "alive"}


@health.get("/readyz", responses={503: {}}, summary="Whether the platform can work")
def tell_ready(desk: TheDesk) -> Readiness:
    """Looks at the database (roles, migration, row security) and at Redis."""
    desk.doors.check()
    desk.gauge.measure()
    return Readiness()


@router.get("/agents", summary="The agents one may submit to")
def list_agents(desk: TheDesk, _: TheTenant) -> Page[Agent]:
    served = desk.registry.agents
    return Page(data=[_describe(served[name]) for name in sorted(served)])


@router.get("/workers", summary="The workers that are alive")
def list_workers(desk: TheDesk, tenant_id: TheTenant) -> Page[Worker]:
    with desk.doors.as_tenant(tenant_id) as tx:
        return Page(data=[Worker.of(row) for row in workers.list_live(tx)])


def _describe(program: Program) -> Agent:
    tools = program.tools if isinstance(program, declared.Agent) else ()
    return Agent(
        name=program.name,
        version=program.version,
        description=_described(program),
        model=_model_name(program),
        input_schema=program.input_type.model_json_schema(),
        tools=[_describe_tool(tool) for tool in tools],
    )


def _model_name(program: Program) -> str | None:
    """The model's name; None for a pipeline, and for a model made in code."""
    if isinstance(program, declared.Agent) and isinstance(program.model, str):
        return program.model
    return None


def _described(program: Program) -> str:
    return program.description or (program.input_type.__doc__ or "").strip().partition("\n")[0]


def _describe_tool(tool: DeclaredTool) -> Tool:
    return Tool(
        name=tool.name,
        description=tool.definition.description or "",
        effect=tool.effect,
        idempotency=tool.idempotency,
        work=tool.work.value,
        origins=sorted(tool.origins),
        rules=None if tool.policy is None else [rule.id for rule in tool.policy],
        trusted=tool.trusted,
    )
