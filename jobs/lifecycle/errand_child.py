"""The inside of an errand: bound this process, call the one tool, and answer.

Started by `jobs.lifecycle.errand` as a script, never imported by the platform. The order, one JSON
object on standard input, names the tool's function `module:name`, what to call it with (`args` as
a model gives them, or `value` as a pipeline does), its context, and the limits. Standard output is
ours alone, one JSON object a line: any number of `progress`, then `value`, `out_of_memory` or
`raised`. Whatever the tool prints goes to standard error.

The limits are put on before anything of the tool is imported.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING, Any, NoReturn
from uuid import UUID

if TYPE_CHECKING:
    from jobs.agent.tool import Shelf, Tool, ToolContext

MESSAGE_CHARS_MAX = 4_000
TRACEBACK_CHARS_MAX = 8_000
ANCESTORS_MAX = 20
# What every error descends from says nothing about one.
ROOTS = (Exception, BaseException, object)


def main() -> None:
    """Read the order, put the limits on, call the tool, answer."""
    order = json.load(sys.stdin.buffer)
    sys.path[:] = order["path"]
    voice = Voice(claim_standard_output())
    answer = attempt(order, voice)
    flush_what_it_printed()
    voice.say(answer)
    os._exit(0)  # what the tool has left running must not keep its answer


def claim_standard_output() -> int:
    """Keep standard output for what is said to the worker; whatever the tool prints is not."""
    told_to = os.dup(1)
    os.dup2(2, 1)
    return told_to


def flush_what_it_printed() -> None:
    for stream in (sys.stdout, sys.stderr):
        # The tool may have closed them, or put something else in their place.
        with suppress(AttributeError, OSError, ValueError):
            stream.flush()


class Voice:
    """What this process says to the worker, a line at a time, from whichever thread."""

    def __init__(self, told_to: int) -> None:
        self._stream = os.fdopen(told_to, "wb")
        self._lock = Lock()

    def say(self, what: dict[str, Any]) -> None:
        line = json.dumps(what).encode() + b"\n"
        with self._lock:
            self._stream.write(line)
            self._stream.flush()

    def tell(self, message: str, done: float | None) -> None:
        self.say({"progress": [str(message), done]})


def attempt(order: dict[str, Any], voice: Voice) -> dict[str, Any]:
    """Call the tool; its result, or what it raised, as the JSON the worker is told."""
    from jobs.confinement import locks

    locks.lower_limit("RLIMIT_CORE", 0)
    locks.lower_limit("RLIMIT_AS", order["memory_bytes"])
    locks.die_with_parent(order["parent_pid"])
    try:
        return {"value": as_json(call(order, voice))}
    except MemoryError:
        return {"out_of_memory": True}
    except BaseException as error:  # noqa: BLE001 - whatever it is, the worker is told
        return {"raised": describe(error)}


def call(order: dict[str, Any], voice: Voice) -> Any:
    tool = find_tool(order)
    context = read_context(order["context"], voice)
    if "value" in order:
        return tool.call_as_step(context, order["value"])
    return tool.call_with(context, tool.validate(order["args"]))


def find_tool(order: dict[str, Any]) -> Tool:
    """The tool of that name, or one made of the function that was declared elsewhere."""
    from jobs.agent.tool import Tool, tool

    declared = find(order["function"])
    return declared if isinstance(declared, Tool) else tool(name=order["name"])(declared)


def find(address: str) -> Any:
    module, _, name = address.partition(":")
    return getattr(importlib.import_module(module), name)


def read_context(given: dict[str, Any] | None, voice: Voice) -> ToolContext:
    """The context of the call; None stands for one that is not asked for."""
    from jobs.agent.tool import ToolContext

    if given is None:
        # A tool that takes no context never looks at it, so its callers need not be told of None.
        return None  # type: ignore[return-value]
    return ToolContext(
        tenant_id=UUID(given["tenant_id"]),
        job_id=UUID(given["job_id"]),
        seq=given["seq"],
        input=find(given["input_type"]).model_validate(given["input"]),
        artifacts=no_shelf(),
        tell=voice.tell,
        effect_key=given["effect_key"],
    )


def no_shelf() -> Shelf:
    """In place of a job's artifacts: a child has no way to the store."""
    from jobs.errors import Misdeclared

    class NoShelf:
        def __getattr__(self, name: str) -> NoReturn:
            raise Misdeclared(
                f"A tool in a child process has no artifacts, so it cannot {name} any. Let it "
                "return what is to be kept, and another tool keep it."
            )

    return NoShelf()


def as_json(returned: Any) -> Any:
    """The result as JSON; raises `Misdeclared` for what is none."""
    from pydantic_core import PydanticSerializationError, to_jsonable_python

    from jobs.agent.waiting import Wait
    from jobs.errors import Misdeclared

    if isinstance(returned, Wait):
        raise Misdeclared(
            f"A tool in a child process cannot wait; it returned {type(returned).__name__}. Let "
            "another step return it."
        )
    try:
        return to_jsonable_python(returned, inf_nan_mode="null")
    except (PydanticSerializationError, ValueError, RecursionError) as error:
        raise Misdeclared(f"It returned something that cannot be kept as JSON: {error}") from None


def describe(error: BaseException) -> dict[str, Any]:
    """An error with the names of its ancestors, by which the worker judges it."""
    from jobs.agent.tool import ToolFailed

    itself, *others = type(error).__mro__
    ancestors = [itself, *(kind for kind in others if kind not in ROOTS)]
    return {
        "ancestry": [[kind.__module__, kind.__qualname__] for kind in ancestors[:ANCESTORS_MAX]],
        "is_tool_failed": isinstance(error, ToolFailed),
        "message": read_message(error)[:MESSAGE_CHARS_MAX],
        "traceback": "".join(traceback.format_exception(error))[-TRACEBACK_CHARS_MAX:],
    }


def read_message(error: BaseException) -> str:
    """Its only argument as it was given, where `str` would put it in quotes."""
    if len(error.args) == 1 and isinstance(error.args[0], str):
        return error.args[0]
    return str(error)


if __name__ == "__main__":
    main()
