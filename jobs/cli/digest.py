"""What went into a step and what came out of it, in the few words a table has room for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from jobs.cli.speech import ago, gist, one_line
from jobs.cli.waiting import does, left

Shape = Mapping[str, Any]

UNSETTLED = ("ready", "running", "waiting")
ANSWER_TOOL = "final_answer"


def went_in(step: Shape, chars_max: int) -> str:
    """The arguments of a tool; a model is given the whole story, a function what came before."""
    given = step["input"]
    if step["kind"] == "tool" and isinstance(given, Mapping):
        return gist(given.get("args", given), chars_max)
    return ""


def came_out(step: Shape, chars_max: int) -> str:
    """What a tool returned, what a model decided, what went wrong, or what it waits for."""
    if step["state"] in UNSETTLED:
        return one_line(_so_far(step), chars_max)
    if step["error"]:
        return one_line(step["error"].get("message") or step["error"], chars_max)
    made = step["output"]
    if not isinstance(made, Mapping):
        return gist(made, chars_max)
    if step["kind"] == "model" and isinstance(made.get("response"), Mapping):
        return one_line("; ".join(_decisions(made)), chars_max)
    if step["kind"] == "tool" and "content" in made:
        return gist(_what_is_new(made["content"], step["input"]), chars_max)
    return gist(made, chars_max)


def has_failed(step: Shape) -> bool:
    """Whether the step went wrong, also if the model was told and the job went on."""
    if step["state"] == "waiting":
        return False
    made = step["output"]
    told = isinstance(made, Mapping) and made.get("outcome") in ("failed", "retried", "denied")
    return bool(step["error"]) or told


def message_id_of(step: Shape) -> str | None:
    """The Message-ID of the mail a step sent, if it sent one."""
    made = step["output"]
    content = made.get("content") if isinstance(made, Mapping) else None
    found = content.get("message_id") if isinstance(content, Mapping) else None
    return found if isinstance(found, str) else None


def _so_far(step: Shape) -> str:
    """What is known of a step that is not settled."""
    wait = step["waiting_on"]
    if wait is not None:
        asked = (wait["prompt"] or {}).get("ask")
        told = does(wait["kind"], wait["name"])
        return f"{told}: {asked}" if asked else f"{told} {left(wait['until'])}"
    if step["effect_started_at"]:
        return f"its effect was begun {ago(step['effect_started_at'])}; no result is known yet"
    error = step["error"]
    return str(error.get("message") or error) if error else ""


def _what_is_new(content: object, given: object) -> object:
    """A tool's result without what it only repeats of its arguments."""
    args = given.get("args") if isinstance(given, Mapping) else None
    if not isinstance(content, Mapping) or not isinstance(args, Mapping):
        return content
    return {name: value for name, value in content.items() if args.get(name) != value}


def _decisions(made: Shape) -> Iterator[str]:
    if made.get("feedback"):
        yield f"put right: {made['feedback'].get('text', '')}"
    calls: Counter[str] = Counter()
    for part in made["response"].get("parts", []):
        if part.get("part_kind") == "tool-call":
            calls[str(part.get("tool_name"))] += 1
        elif part.get("part_kind") == "text" and part.get("content"):
            yield f"says {part['content']}"
    if calls.pop(ANSWER_TOOL, 0):
        yield "gives the final answer"
    if calls:
        yield "calls " + ", ".join(f"{n}x {name}" if n > 1 else name for name, n in calls.items())
