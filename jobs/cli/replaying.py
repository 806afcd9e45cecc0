"""`stepwell replay JOB --dry`: whether the agent, as its code is here, decides as it did then.

It runs in this process, with the agents of STEPWELL_AGENTS and the models of this environment. The
platform is only asked for what was recorded: nothing is written, and no tool is called.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from jobs.agent.agent import Agent
from jobs.agent.model import Models
from jobs.agent.pipeline import Pipeline
from jobs.agent.registry import Program, Registry
from jobs.agent.rehearsal import Compared, Verdict, compare_pipeline, rehearse
from jobs.cli.finding import find_platform
from jobs.cli.ids import find_job_id, short
from jobs.cli.speech import (
    Code,
    Complaint,
    count,
    emit,
    err,
    log_on_stderr,
    one_line,
    out,
    plain,
    say,
)
from jobs.errors import Misdeclared, Refused
from jobs.settings import Settings
from store.invocation import Invocation
from store.rows import CheckpointRow
from store.states import JobClass, Origin, StepKind, StepState, Work

DIFF_LINES_MAX = 24
STYLES = {Verdict.SAME: "green", Verdict.DIFFERS: "yellow", Verdict.UNANSWERED: "red"}
DIFF_STYLES = {"- ": "red", "+ ": "green"}
SIGNS = {Verdict.SAME: "=", Verdict.DIFFERS: "≠", Verdict.UNANSWERED: "✗"}


def replay_dry(typed: str, model_name: str | None, *, as_json: bool) -> Code:
    """Compare what was decided with what would be decided now; OK when all is the same."""
    log_on_stderr()
    settings = Settings()
    with find_platform().client() as client:
        job_id = find_job_id(client, typed)
        job, steps = client.job(job_id), [row_of(step, job_id) for step in client.steps(job_id)]
    try:
        program = Registry.load(settings.agents).find(job["agent"])
        compared = _compare(program, job, steps, settings, model_name)
    except (Misdeclared, Refused) as error:
        raise Complaint(str(error), hint=_way_out(error)) from None
    if as_json:
        emit(_report(job, program, compared))
    else:
        _tell(job, program, compared)
    is_same = all(each.verdict is Verdict.SAME for each in compared)
    return Code.OK if is_same else Code.FAILED


def row_of(step: Mapping[str, Any], job_id: str) -> CheckpointRow:
    """A step of the API as the row it was; what a rehearsal does not read is left empty."""
    return CheckpointRow(
        tenant_id=UUID(int=0),
        job_id=UUID(job_id),
        seq=step["seq"],
        parent_seq=step["parent_seq"],
        kind=StepKind(step["kind"]),
        name=step["name"],
        job_class=JobClass.DEFAULT,
        work=Work(step["work"]),
        state=StepState(step["state"]),
        epoch=step["tries"],
        attempts=step["attempts"],
        losses=step["losses"],
        worker_id=None,
        ready_at=datetime.fromisoformat(step["ready_at"]),
        rung_at=None,
        claimed_at=None,
        committed_at=None,
        input=step["input"],
        output=step["output"],
        error=step["error"],
        waits=step["waits"],
        effect_key=step["effect_key"],
        effect_epoch=None,
        effect_started_at=None,
    )


def _compare(
    program: Program,
    job: Mapping[str, Any],
    steps: Sequence[CheckpointRow],
    settings: Settings,
    model_name: str | None,
) -> list[Compared]:
    if isinstance(program, Pipeline):
        if model_name is not None:
            raise Complaint(f"{program.name!r} is a pipeline and asks no model.")
        return compare_pipeline(program, steps, is_over=job["status"] == "completed")
    return asyncio.run(_rehearse(program, job, steps, settings, model_name or job["model"]))


async def _rehearse(
    agent: Agent,
    job: Mapping[str, Any],
    steps: Sequence[CheckpointRow],
    settings: Settings,
    model_name: str | None,
) -> list[Compared]:
    found: list[Compared] = []
    models = Models(settings)
    with err.status("asking the model again") as status:
        async for each in rehearse(
            agent,
            job["input"],
            steps,
            models,
            settings,
            model_name=model_name,
            invocation=_invocation_of(job),
        ):
            found.append(each)
            status.update(f"asked again: {count(len(found), 'decision')}")
    return found


def _invocation_of(job: Mapping[str, Any]) -> Invocation:
    return Invocation(
        origin=Origin(job["origin"]),
        root_id=UUID(job["root_id"]),
        origins_above=tuple(map(Origin, job["origins_above"])),
    )


# --- telling --------------------------------------------------------------------------------------


def _tell(job: Mapping[str, Any], program: Program, compared: list[Compared]) -> None:
    if job["agent_version"] != program.version:
        say(
            f"job {short(job['id'])} ran version {plain(job['agent_version'])} of "
            f"{program.name!r}; here it is version {program.version}"
        )
    if not compared:
        say("Nothing was decided yet, so there is nothing to compare.")
        return
    out.print(Group(*(part for each in compared for part in _lines(each))))
    say(_summary(program, compared))


def _lines(each: Compared) -> list[RenderableType]:
    line = Table.grid(padding=(0, 2, 0, 0), expand=True)
    line.add_column(justify="right", width=4)
    line.add_column(no_wrap=True, width=24, overflow="ellipsis")
    line.add_column(no_wrap=True, width=12)
    line.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    verdict = Text(f"{SIGNS[each.verdict]} {each.verdict.value}", STYLES[each.verdict])
    line.add_row(str(each.seq), plain(each.name), verdict, _beside(each))
    return [line, *_diff(each)]


def _beside(each: Compared) -> Text:
    if each.note:
        return Text(one_line(each.note, 500), "red" if each.verdict is Verdict.UNANSWERED else "")
    if each.verdict is Verdict.SAME:
        return Text(one_line(" ".join(each.recorded), 500), "dim")
    return Text("- then, + now", "dim")


def _diff(each: Compared) -> list[RenderableType]:
    lines = each.diff
    shown = [Text(plain(line), DIFF_STYLES.get(line[:2], "")) for line in lines[:DIFF_LINES_MAX]]
    if len(lines) > DIFF_LINES_MAX:
        shown.append(Text(f"… and {len(lines) - DIFF_LINES_MAX} more lines: use --json", "dim"))
    return [Padding(line, (0, 0, 0, 6)) for line in shown]


def _summary(program: Program, compared: list[Compared]) -> str:
    same = sum(1 for each in compared if each.verdict is Verdict.SAME)
    what = "step" if isinstance(program, Pipeline) else "decision"
    told = f"{same} of {count(len(compared), what)} the same"
    asked = [each.usage for each in compared if each.usage is not None]
    if asked:
        tokens = sum(each.input_tokens + each.output_tokens for each in asked)
        told += f" · asked {plain(asked[0].model)}, {tokens:,} tokens"
    if compared[-1].verdict is Verdict.UNANSWERED:
        told += " · it gave no answer, so nothing after that was asked"
    return told


def _report(job: Mapping[str, Any], program: Program, compared: list[Compared]) -> dict[str, Any]:
    return {
        "job_id": job["id"],
        "agent": program.name,
        "recorded_version": job["agent_version"],
        "version": program.version,
        "is_same": all(each.verdict is Verdict.SAME for each in compared),
        "steps": [{**asdict(each), "diff": each.diff} for each in compared],
    }


def _way_out(error: Exception) -> str:
    if getattr(error, "code", "") == "unknown-agent":
        return "set STEPWELL_AGENTS to the modules the platform was started with"
    return ""
