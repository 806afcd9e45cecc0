"""The loop detector: who makes the same call over and over is going nowhere, and a person looks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from jobs.guards.guard import Context, Stage, Verdict, allow, halt
from store.rows import CheckpointRow
from store.states import StepKind


@dataclass(frozen=True)
class Loops:
    """Halts a call that is made for the n-th turn, in a row or in all, with the same arguments."""

    in_a_row_max: int = 5
    in_all_max: int = 20
    name: str = "loops"
    stages: frozenset[Stage] = frozenset({Stage.TOOL_ARGS})

    def check(self, stage: Stage, value: Any, context: Context) -> Verdict:
        counts = {"in_a_row": context.in_a_row, "in_all": context.in_all}
        if context.in_a_row > self.in_a_row_max:
            return halt(f"The same call was made {context.in_a_row} turns in a row.", **counts)
        if context.in_all > self.in_all_max:
            return halt(f"The same call was made in {context.in_all} turns.", **counts)
        return allow()


@dataclass(frozen=True, slots=True)
class Turns:
    """Which calls a job has made in which of its turns, known by the step that asked for them."""

    in_order: tuple[int, ...]
    made: dict[str, set[int]]

    @classmethod
    def read(cls, steps: Sequence[CheckpointRow]) -> Turns:
        made: dict[str, set[int]] = {}
        for step in steps:
            if step.kind is StepKind.TOOL and step.parent_seq is not None:
                call = fingerprint(step.input["tool"], step.input["args"])
                made.setdefault(call, set()).add(step.parent_seq)
        return cls(tuple(s.seq for s in steps if s.kind is StepKind.MODEL), made)

    def count(self, tool: str, args: Any) -> tuple[int, int]:
        """In how many turns up to now the call was made: without a break, and in all."""
        turns = self.made.get(fingerprint(tool, args), set())
        in_a_row = takewhile(lambda seq: seq in turns, reversed(self.in_order))
        return sum(1 for _ in in_a_row), len(turns)


def fingerprint(tool: str, args: Any) -> str:
    """The same for the same call, whatever the order of its arguments."""
    return hashlib.sha256(json.dumps([tool, args], sort_keys=True).encode()).hexdigest()
