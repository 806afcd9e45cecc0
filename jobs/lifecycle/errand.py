"""Errands: one call of a tool in a child process, which can be killed where a thread cannot.

The child is a fresh Python that imports the tool by name, so it takes about a second to begin and
shares nothing with the worker: what goes in and what comes out is JSON. It is killed with all it
started when its time is up, when it wants more memory than it may, or when somebody says stop; on
Linux it also dies with the worker.

This bounds a tool that runs away. It is no wall against code that means harm: the child has our
network, our files and our user. What reads other people's files belongs in `jobs.datasets.confine`.

How it ends:

    a value              what the tool returned, as JSON
    ToolFailed           the tool raised it
    a built-in error     the tool raised it, such as ConnectionRefusedError; TimeoutError also when
                         its time was up
    ToolCrashed          the tool raised something else; the error bears its name and those of its
    │                    ancestors, so that it is judged as it would be in the worker, though its
    │                    class may not even be imported here
    └── ToolDied         it went without an answer: killed, out of memory, or saying too much; how
        │                far it had come, nobody knows
        └── ErrandStopped    it was told to stop, and killed
"""

from __future__ import annotations

import builtins
import json
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any, NoReturn, cast

from jobs.agent.tool import Tool, ToolContext, ToolFailed
from jobs.confinement.environment import without_our_keys
from jobs.confinement.follow import Ending, Stop, follow, start_child
from jobs.errors import Misdeclared, StepwellError
from jobs.lifecycle.stopping import on_stop

CHILD = Path(__file__).with_name("errand_child.py")
MIB = 1024 * 1024
# All that a child may say: its result and its progress.
ANSWER_BYTES_MAX = 32 * MIB


class ToolCrashed(StepwellError):
    """A tool in a child process raised what the worker has no class for."""


class ToolDied(ToolCrashed):
    """A tool in a child process went without an answer; its work may be done, or part of it."""


class ErrandStopped(ToolDied):
    """A tool in a child process was killed because somebody said so."""


def call_in_child(
    tool: Tool,
    context: ToolContext,
    args: Mapping[str, Any],
    *,
    timeout_s: float | None = None,
    stop: Stop | None = None,
) -> Any:
    """Call the tool as a model does, with JSON `args`, and return its result as JSON.

    The child validates the arguments again. It is killed after the tool's own timeout, or after
    `timeout_s` where that is less, or once `stop` is set (a `threading.Event` will do). Raises what
    the essay above draws, and `Misdeclared` when the tool cannot be found by a child.
    """
    return _run(tool, context, {"args": dict(args)}, timeout_s, stop)


def step_in_child(
    tool: Tool,
    context: ToolContext,
    value: Any,
    *,
    timeout_s: float | None = None,
    stop: Stop | None = None,
) -> Any:
    """Call the tool as a step of a pipeline does, with one JSON value; otherwise the same."""
    return _run(tool, context, {"value": value}, timeout_s, stop)


def _run(
    tool: Tool,
    context: ToolContext,
    given: dict[str, Any],
    timeout_s: float | None,
    stop: Stop | None,
) -> Any:
    limit_s = tool.timeout_s if timeout_s is None else min(timeout_s, tool.timeout_s)
    give_up_at = monotonic() + limit_s
    dialogue, stopping = _Dialogue(context), Event()
    with (
        on_stop(stopping.set),
        start_child(
            CHILD, _order(tool, context, given), environment=without_our_keys(os.environ)
        ) as child,
    ):
        ending = follow(
            child,
            dialogue.hear,
            give_up_at=give_up_at,
            answer_bytes_max=ANSWER_BYTES_MAX,
            stop=stop or stopping,
            overhear=_pass_on,
        )
    if dialogue.answer is None:
        _explain_death(tool, ending, limit_s)
    return _read(tool, dialogue.answer)


def _order(tool: Tool, context: ToolContext, given: dict[str, Any]) -> dict[str, Any]:
    return {
        **given,
        "function": _address_of(tool.function),
        "name": tool.name,
        "path": sys.path,
        "context": _context_as_json(context) if tool.takes_context else None,
        "memory_bytes": tool.memory_bytes_max,
        "parent_pid": os.getpid(),
    }


def _address_of(thing: Any) -> str:
    """`module:name`, by which a child finds a function or class; raises `Misdeclared`."""
    if thing.__module__ == "__main__" or not thing.__qualname__.isidentifier():
        raise Misdeclared(
            f"{thing.__qualname__} of {thing.__module__} cannot be found by a child process. Put "
            "it at the top of a module that can be imported."
        )
    return f"{thing.__module__}:{thing.__name__}"


def _context_as_json(context: ToolContext) -> dict[str, Any]:
    return {
        "tenant_id": str(context.tenant_id),
        "job_id": str(context.job_id),
        "seq": context.seq,
        "effect_key": context.effect_key,
        "input": context.input.model_dump(mode="json", by_alias=True, round_trip=True),
        "input_type": _address_of(type(context.input)),
    }


class _Dialogue:
    """What a child says, line by line: how far it is, and in the end its answer."""

    def __init__(self, context: ToolContext) -> None:
        self.answer: dict[str, Any] | None = None
        self._context = context
        self._unfinished = bytearray()

    def hear(self, data: bytes) -> bool:
        """Take in what was said; answers whether that was the answer."""
        self._unfinished += data
        if b"\n" not in data:
            return False
        *lines, self._unfinished = self._unfinished.split(b"\n")
        for line in lines:
            said = json.loads(line)
            if "progress" not in said:
                self.answer = said
                return True
            self._context.progress(*said["progress"])
        return False


def _pass_on(data: bytes) -> None:
    """What a tool prints is seen where the worker's own output is."""
    with suppress(OSError):
        os.write(2, data)


def _read(tool: Tool, answer: Mapping[str, Any]) -> Any:
    """The result that the child answered with; raises what it raised."""
    if "out_of_memory" in answer:
        raise ToolDied(_memory_message(tool))
    if "raised" in answer:
        raise _as_raised(answer["raised"])
    return answer["value"]


def _explain_death(tool: Tool, ending: Ending, limit_s: float) -> NoReturn:
    """A child that did not answer: why not, as far as one can tell."""
    if ending.is_stopped:
        raise ErrandStopped(f"{tool.name} was told to stop, and killed.")
    if ending.too_long:
        raise TimeoutError(f"{tool.name} took longer than {limit_s:g} s, and was killed.")
    if ending.too_much:
        raise ToolDied(f"{tool.name} returned more than {ANSWER_BYTES_MAX // MIB} MiB.")
    if ending.ran_out_of_memory:
        raise ToolDied(_memory_message(tool))
    if ending.exit_code == -signal.SIGKILL:  # and not by us
        raise ToolDied(f"{tool.name} was killed by the system, most likely for want of memory.")
    if ending.exit_code < 0:
        killer = signal.Signals(-ending.exit_code).name
        raise ToolDied(f"{tool.name} was killed by the signal {killer}.")
    raise ToolDied(f"{tool.name} ended its process with code {ending.exit_code}.")


def _memory_message(tool: Tool) -> str:
    return f"{tool.name} needed more than the {tool.memory_bytes_max // MIB:,} MiB it may have."


def _as_raised(said: Mapping[str, Any]) -> Exception:
    """The error of a child as one of ours; its traceback goes along for the log."""
    if said["is_tool_failed"]:
        return ToolFailed(said["message"])
    (module, name), message = said["ancestry"][0], said["message"]
    error = _built_in(name, message) if module == "builtins" else None
    if error is None:
        ancestry = tuple((module, name) for module, name in said["ancestry"])
        error = _named_as(ancestry)(message)
    error.add_note(f"In the child process:\n{said['traceback']}")
    return error


def _built_in(name: str, message: str) -> Exception | None:
    """The built-in error of that name, unless it takes more than a message to make one."""
    kind = getattr(builtins, name, None)
    if not isinstance(kind, type) or not issubclass(kind, Exception):
        return None
    try:
        return kind(message)
    except TypeError:
        return None


@lru_cache(maxsize=256)
def _named_as(ancestry: tuple[tuple[str, str], ...]) -> type[ToolCrashed]:
    """A kind of `ToolCrashed` whose ancestors have the names (module, class) of the child's.

    Errors are classified by the names in their ancestry, nearest first.
    """
    kind = ToolCrashed
    for module, name in reversed(ancestry):
        names = {"__module__": module, "__qualname__": name}
        kind = cast(type[ToolCrashed], type(name.rpartition(".")[2], (kind,), names))
    return kind
