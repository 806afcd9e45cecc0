"""Results: from what a tool or function returned to what the step keeps and what follows."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticSerializationError, to_jsonable_python

from jobs.agent.agent import Agent
from jobs.agent.pipeline import Pipeline
from jobs.agent.registry import Program
from jobs.errors import Misdeclared
from jobs.guards.grounding import LEFT_OUT
from jobs.guards.secrets import keep_out
from jobs.lifecycle.arguments import args_of, is_edited
from jobs.lifecycle.guarded_calls import pass_result
from jobs.lifecycle.house import House
from jobs.lifecycle.outcomes import Acted
from jobs.lifecycle.shelf import JobShelf
from jobs.lifecycle.taint import taint_of_children
from store.jsonb import keepable
from store.states import JobStatus
from store.transitions import Claim, Ending

# How much of a large output a model still gets to see, in characters.
PREVIEW_CHARS = 2_000
# How much is said about why something was left out.
WHY_CHARS = 300


def conclude_with(held: Claim, program: Program, returned: Any, house: House) -> Acted:
    """The step is done, with this for its result."""
    if isinstance(program, Pipeline):
        acted = _conclude_function(held, program, as_json(returned))
        return replace(acted, taints=taint_of_children(held, house))
    passed = pass_result(held, program, as_json(returned), house)
    output = {"outcome": passed.outcome, "content": fit(held, passed.value, house)} | passed.marks
    if is_edited(held):
        output["edited_args"] = args_of(held)
    plan = (program.model_step(),)
    taints = taint_of_children(held, house)
    return Acted(output, passed.outcome, plan=plan, is_joining=True, taints=taints)


def _conclude_function(held: Claim, pipeline: Pipeline, output: Any) -> Acted:
    following = pipeline.step_after(held.input["position"])
    if following is None:
        return Acted(output, ending=Ending(JobStatus.COMPLETED, output=output))
    return Acted(output, plan=(following,))


def given_to(held: Claim, pipeline: Pipeline, asked: BaseModel | None = None) -> Any:
    """The value that a pipeline's step is given: the job's input, what the step before returned, or
    what people have made of it.

    `asked` is the input as the pipeline's type, where it has been read already.
    """
    given = args_of(held)
    if given is not held.job_input:
        return given
    return (asked or pipeline.input_type.model_validate(given)).model_dump(mode="json")


def left_out(held: Claim, program: Program, why: str) -> Acted:
    """An optional step that the job goes on without: the model is told, a value is handed on."""
    why = keepable(why)[:WHY_CHARS]
    if isinstance(program, Pipeline):
        acted = _conclude_function(held, program, given_to(held, program))
    else:
        told = f"This call is optional and was left out, so go on without it. {why}"
        output = {"outcome": "success", "content": told, LEFT_OUT: True}
        acted = Acted(output, plan=(program.model_step(),), is_joining=True)
    return replace(acted, outcome="degraded", left_out=why)


def tool_failed(agent: Agent, message: str, outcome: str = "failed") -> Acted:
    """A call that did not work, as the model is told."""
    content = keep_out(message, agent.all_guards)[:PREVIEW_CHARS]
    output = {"outcome": outcome, "content": content}
    return Acted(keepable(output), outcome=outcome, plan=(agent.model_step(),), is_joining=True)


def fit(held: Claim, returned: Any, house: House) -> Any:
    """What a tool returned as JSON; a large one is kept as an artifact, with a preview here."""
    content = as_json(returned)
    text = json.dumps(content)
    if len(text) <= house.settings.output_bytes_max:
        return content
    shelf = JobShelf(house.doors, held, house.cache)
    kept = shelf.save(f"output-{held.seq}.json", "application/json", text.encode())
    return {
        "artifact": str(kept.id),
        "bytes": kept.size_bytes,
        "preview": text[:PREVIEW_CHARS],
        "note": "The output was too large to show whole; it is kept as this artifact.",
    }


def as_json(returned: Any) -> Any:
    """JSON that Postgres can keep; raises `Misdeclared` for what has none."""
    try:
        return keepable(to_jsonable_python(returned, inf_nan_mode="null"))
    except (PydanticSerializationError, ValueError, RecursionError) as error:
        raise Misdeclared(f"It returned something that cannot be kept as JSON: {error}") from None
