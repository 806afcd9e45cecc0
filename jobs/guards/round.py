"""A round: the guards of one stage look at a value in order, and the most severe verdict wins.

Each sees what the ones before it made of the value. A guard that raises has said `block`, in its
name: what cannot be judged does not pass. One that asks the model to try again is heard once; when
it asks again at the same stage, a person is asked. Whoever takes a round on after a person has said
to go on says what that waives; what is blocked stays blocked.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.guards.guard import Context, Guard, Kind, Stage, Verdict, allow, block, halt
from store.errors import Unreachable
from store.jsonb import write_json

SEVERITY = list(Kind)
# What a person can waive who was asked about the value itself.
FOR_A_PERSON = frozenset({Kind.RETRY, Kind.CONFIRM, Kind.HALT})
NOTHING: frozenset[Kind] = frozenset()
REASON_CHARS_MAX = 1_000
# How a row names the guards whose allows it counts.
ALL = "*"


@dataclass(frozen=True, slots=True)
class Round:
    """What the guards of a stage made of a value, and what each of them said."""

    stage: Stage
    kind: Kind
    value: Any
    spoken: tuple[tuple[str, Verdict], ...] = ()

    @property
    def passes(self) -> bool:
        return self.kind in (Kind.ALLOW, Kind.REPLACE)

    @property
    def loud(self) -> tuple[tuple[str, Verdict], ...]:
        """Who said the verdict that won, and in what words."""
        return tuple((name, said) for name, said in self.spoken if said.kind is self.kind)

    @property
    def reason(self) -> str:
        """The words of those whose verdict won."""
        return " ".join(f"{said.reason} ({name})" for name, said in self.loud)[:REASON_CHARS_MAX]

    def rows(self) -> list[dict[str, Any]]:
        """What is kept of it: each verdict, and the number of plain allows."""
        return [*self._rows()]

    def _rows(self) -> Iterator[dict[str, Any]]:
        for name, said in self.spoken:
            if not said.is_plain:
                row = {"stage": self.stage, "guard": name, "verdict": said.kind}
                more = {"reason": said.reason[:REASON_CHARS_MAX], "found": dict(said.found)}
                yield row | {key: told for key, told in more.items() if told}
        count = sum(said.is_plain for _, said in self.spoken)
        if count:
            yield {"stage": self.stage, "guard": ALL, "verdict": Kind.ALLOW, "count": count}


def go_round(
    stage: Stage,
    value: Any,
    guards: Sequence[Guard],
    context: Context,
    *,
    waived: frozenset[Kind] = NOTHING,
) -> Round:
    """Let the guards of the stage look at the value, each at what the one before left of it."""
    spoken: list[tuple[str, Verdict]] = []
    for guard in guards:
        if stage not in guard.stages:
            continue
        said = _ask(guard, stage, value, context)
        if said.kind in waived:
            said = allow(waived=said.kind)
        if said.kind is Kind.REPLACE:
            value = said.value
        if said.vouches:
            context = dataclasses.replace(context, is_vouched=True)
        spoken.append((guard.name, said))
    kind = max((said.kind for _, said in spoken), key=SEVERITY.index, default=Kind.ALLOW)
    return Round(stage, kind, value, tuple(spoken))


def _ask(guard: Guard, stage: Stage, value: Any, context: Context) -> Verdict:
    try:
        said = _checked(guard.check(stage, value, context))
    except Unreachable as error:
        if stage is not Stage.TOOL_RESULT:
            raise
        # The call was made. To raise would say that nobody knows.
        return _unjudged(error)
    except Exception as error:  # noqa: BLE001 - whatever it is, nobody has said that it may pass
        return _unjudged(error)
    if said.kind is Kind.RETRY and guard.name in context.retried:
        return halt(f"{said.reason} The model was told before.", **said.found)
    return said


def _checked(said: Verdict) -> Verdict:
    """The verdict, if it is one that can be kept; raises `TypeError`."""
    if not isinstance(said, Verdict):
        raise TypeError("no verdict")
    write_json([said.value, dict(said.found)])
    return said


def _unjudged(error: Exception) -> Verdict:
    return block(f"The guard could not judge it: {type(error).__name__}.")
