"""Sizes and types: what is too large, too deep, or not of its declared type does not pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pydantic import TypeAdapter, ValidationError

from jobs.guards.guard import EVERYWHERE, Context, Stage, Verdict, allow, block, retry

MIB = 1024 * 1024
# Generous: they are for what has gone wrong, not for what is merely long.
CHARACTERS_MAX = {
    Stage.JOB_INPUT: MIB,
    Stage.MODEL_REQUEST: 8 * MIB,
    Stage.TOOL_ARGS: MIB,
    Stage.TOOL_RESULT: 64 * MIB,
    Stage.JOB_OUTPUT: 4 * MIB,
    Stage.JOB_POST: 4 * MIB,
}
# What a model made, it can make again.
BY_THE_MODEL = frozenset({Stage.TOOL_ARGS, Stage.JOB_OUTPUT})


@dataclass(frozen=True)
class Sizes:
    """Bounds on the characters of all texts of a value together, its depth and its parts."""

    name: str = "sizes"
    stages: frozenset[Stage] = EVERYWHERE
    characters_max: Mapping[Stage, int] = field(default_factory=lambda: CHARACTERS_MAX)
    depth_max: int = 100
    parts_max: int = 5_000_000

    def check(self, stage: Stage, value: Any, context: Context) -> Verdict:
        most = self.characters_max.get(stage, CHARACTERS_MAX[stage])
        wrong = self._find_wrong(value, most)
        if wrong is None:
            return allow()
        return retry(wrong) if stage in BY_THE_MODEL else block(wrong)

    def _find_wrong(self, value: Any, characters_max: int) -> str | None:
        characters = parts = 0
        waiting = [(value, 1)]
        while waiting:
            part, depth = waiting.pop()
            parts += 1
            if depth > self.depth_max:
                return f"It is nested more than {self.depth_max} deep."
            if parts > self.parts_max:
                return f"It has more than {self.parts_max:,} parts."
            if isinstance(part, str):
                characters += len(part)
            elif isinstance(part, dict):
                waiting += [(inner, depth + 1) for pair in part.items() for inner in pair]
            elif isinstance(part, list | tuple):
                waiting += [(inner, depth + 1) for inner in part]
            if characters > characters_max:
                return f"It has more than {characters_max:,} characters."
        return None


@dataclass(frozen=True)
class Types:
    """Declared types: the results of tools by their name, and the job's output by `output`."""

    of: Mapping[str, Any]
    name: str = "types"
    stages: frozenset[Stage] = frozenset({Stage.TOOL_RESULT, Stage.JOB_OUTPUT})

    def check(self, stage: Stage, value: Any, context: Context) -> Verdict:
        what = context.tool if stage is Stage.TOOL_RESULT else "output"
        adapter = self._adapters.get(what or "")
        if adapter is None:
            return allow()
        try:
            adapter.validate_python(value)
        except ValidationError as error:
            said = error.errors(include_url=False, include_context=False, include_input=False)
            text = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in said[:5])
            wrong = f"It is not of the declared type: {text}."
            return retry(wrong) if stage in BY_THE_MODEL else block(wrong)
        return allow()

    @cached_property
    def _adapters(self) -> dict[str, TypeAdapter[Any]]:
        return {what: TypeAdapter(declared) for what, declared in self.of.items()}
