"""Numeric grounding: every number that is said has to stand in what was recorded.

A model may misread a figure, mix two up, or make one up. Whatever it writes as a report or answers
is searched for numbers, and each is held against the recorded results of the job (`evidence.py`
says how). What is not found is told to the model once, by name; when it comes again, a person
looks. The share that was found is the confidence of what was written, and is kept with it. An agent
may put up with less than all of it (`confidence_min`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jobs.guards.evidence import Evidence, derived
from jobs.guards.guard import Context, Kind, Stage, Verdict, allow, halt, replace, retry
from jobs.guards.numbers import Said, read_numbers
from jobs.guards.texts import texts_at, texts_in

# How many of the numbers that were not found are named.
NAMED_MAX = 12
# A text longer than that is no report.
CHARACTERS_MAX = 500_000
OUTPUT = "output"
# The mark on what a model was told in the place of a result that the job went on without.
LEFT_OUT = "left_out"


@dataclass(frozen=True, slots=True)
class Grounded:
    """What became of the numbers of some texts: how many there were, how found, which were not."""

    numbers: int
    ways: Mapping[str, int]
    missing: tuple[str, ...]

    @property
    def found(self) -> int:
        return sum(self.ways.values())

    @property
    def share(self) -> float:
        """The part of the numbers that was found, from 0 to 1; 1 where there are none."""
        return round(self.found / self.numbers, 4) if self.numbers else 1.0

    def as_json(self) -> dict[str, Any]:
        told = {"numbers": self.numbers, "grounded": self.found, "share": self.share}
        return {**told, "ways": dict(self.ways), "missing": list(self.missing[:NAMED_MAX])}


def ground(texts: Iterable[str], evidence: Evidence) -> Grounded:
    """Hold every number of the texts against the evidence."""
    ways: Counter[str] = Counter()
    missing: list[str] = []
    count = 0
    for text in texts:
        numbers = read_numbers(text[:CHARACTERS_MAX])
        count += len(numbers)
        found = {at: way for at, said in enumerate(numbers) if (way := evidence.how(said))}
        for at, said in enumerate(numbers):
            way = found.get(at) or _derive(said, numbers, found)
            if way is None:
                missing.append(said.written)
            else:
                ways[way] += 1
    return Grounded(count, dict(ways), tuple(dict.fromkeys(missing)))


def _derive(said: Said, numbers: Sequence[Said], found: Mapping[int, str]) -> str | None:
    others = [n for i, n in enumerate(numbers) if i in found and n.sentence == said.sentence]
    return "derived" if derived(said, others) else None


def evidence_of_steps(context: Context) -> Evidence:
    """The recorded results of the job's tools, and what was asked."""
    evidence = Evidence()
    for step in context.steps():
        if _has_result(step.output):
            evidence.add_value(step.output["content"])
    for text in texts_in(dict(context.input)):
        evidence.add_asked(text)
    return evidence


def _has_result(output: Any) -> bool:
    """Whether a step has recorded anything. What did not work says no more than what was asked."""
    is_call = isinstance(output, dict) and output.get("outcome") == "success"
    return is_call and LEFT_OUT not in output


@dataclass(frozen=True)
class Grounding:
    """`said` are the paths to texts in the arguments of each tool by its name, and in the job's
    output under `output`; an empty list is all of its texts. `recorded` gathers the evidence. The
    output's field `confidence_field`, where it has one, is given the share that was found."""

    said: Mapping[str, Sequence[str]]
    recorded: Callable[[Context], Evidence] = evidence_of_steps
    confidence_field: str = "confidence"
    name: str = "grounding"
    stages: frozenset[Stage] = field(default=frozenset({Stage.TOOL_ARGS, Stage.JOB_OUTPUT}))

    def check(self, stage: Stage, value: Any, context: Context) -> Verdict:
        what = OUTPUT if stage is Stage.JOB_OUTPUT else context.tool or ""
        paths = self.said.get(what)
        if paths is None:
            return allow()
        found = ground(_texts_of(value, paths), self.recorded(context))
        verdict = self._judge(found, context)
        if verdict.kind is Kind.ALLOW and stage is Stage.JOB_OUTPUT:
            return self._give_confidence(value, found)
        return verdict

    def _judge(self, found: Grounded, context: Context) -> Verdict:
        told = found.as_json()
        if not found.missing:
            return allow(**told)
        if self.name not in context.retried:
            named = ", ".join(found.missing[:NAMED_MAX])
            return retry(
                f"These numbers stand in no result that was recorded: {named}. Say only figures "
                "that a query has returned, as it returned them, or query for them first.",
                **told,
            )
        if found.share < context.confidence_min:
            return halt(
                f"{len(found.missing)} of {found.numbers} numbers stand in no result that was "
                f"recorded, also after the model was told: {', '.join(found.missing[:NAMED_MAX])}.",
                **told,
            )
        return allow(**told)

    def _give_confidence(self, value: Any, found: Grounded) -> Verdict:
        """The output with its confidence in it, where it has a place for that."""
        told = found.as_json()
        if not isinstance(value, dict) or self.confidence_field not in value:
            return allow(**told)
        with_it = value | {self.confidence_field: found.share}
        return replace(with_it, f"{found.found} of {found.numbers} numbers are grounded.", **told)


def _texts_of(value: Any, paths: Sequence[str]) -> list[str]:
    if not paths:
        return [*texts_in(value)]
    return [text for path in paths for text in texts_at(value, path)]
