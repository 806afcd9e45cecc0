"""Answers: whether what a person says is an answer to what was asked, and what is kept of it."""

from __future__ import annotations

import json
from typing import Any

from jobs.web.refusals import Unfit
from jobs.web.shapes_of_waits import AnswerRequest, Decision, decisions_of
from store.rows import WaitRow
from store.states import WaitKind

CHOICES_SHOWN = 20


def read_answer(wait: WaitRow, given: AnswerRequest) -> Any:
    """What the store keeps of the answer; raises `Unfit` when it is no answer to this question."""
    if wait.kind is WaitKind.QUESTION:
        return _read_free(wait, given)
    return _read_decision(wait, given)


def _read_free(wait: WaitRow, given: AnswerRequest) -> Any:
    if given.decision is not None or "result" in given.model_fields_set:
        raise Unfit("This is a question: send `answer`, and neither `decision` nor `result`.")
    if "answer" not in given.model_fields_set:
        raise Unfit("Send what to answer as `answer`; null is an answer, too.")
    choices = (wait.prompt or {}).get("choices")
    if choices and given.answer not in choices:
        raise Unfit(f"The answer has to be one of: {_listed(choices)}.")
    return given.answer


def _read_decision(wait: WaitRow, given: AnswerRequest) -> dict[str, Any]:
    allowed = decisions_of(wait)
    if given.decision is None or "answer" in given.model_fields_set:
        raise Unfit(
            f"This has to be decided: send `decision`, one of {', '.join(allowed)}, and not "
            "`answer`."
        )
    if given.decision not in allowed:
        raise Unfit(f"{given.decision.value!r} cannot be decided here, only {', '.join(allowed)}.")
    has_result = "result" in given.model_fields_set
    if given.decision is Decision.HAPPENED and not has_result:
        raise Unfit("When it happened, send the `result` it had; null is a result, too.")
    if given.decision is not Decision.HAPPENED and has_result:
        raise Unfit(f"A `result` goes with `happened` only, not with {given.decision.value!r}.")
    return {"decision": given.decision.value, "result": given.result}


def _listed(choices: list[Any]) -> str:
    shown = [json.dumps(choice, ensure_ascii=False) for choice in choices[:CHOICES_SHOWN]]
    more = len(choices) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
