"""What is kept of a model's call and of an error holds no secret, however it is written."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic_ai.models.function import FunctionModel

from jobs import Agent
from jobs.lifecycle.guarded_turns import keep_response
from jobs.lifecycle.verdicts import READ_CHARS, describe
from store import secrets
from tests.programs import follow_script

KEY = "ghp_" + "a1B2" * 9


def kept(args: str) -> str:
    agent = Agent(
        name="clerk",
        model=FunctionModel(follow_script, model_name="script"),
        instructions="Follow the script.",
    )
    part = {"part_kind": "tool-call", "tool_name": "look_up", "args": args}
    response: dict[str, Any] = keep_response(agent, {"response": {"parts": [part]}})
    said: str = response["response"]["parts"][0]["args"]
    return said


@pytest.mark.parametrize("depth", [1, 400, 5_000, 200_000])
def test_a_secret_is_found_however_deep_it_is_nested(depth: int) -> None:
    said = kept("[" * depth + f'"use {KEY}"' + "]" * depth)
    assert KEY not in said
    assert "[secret: GitHub token]" in said


def test_a_key_of_this_process_is_hidden_before_the_text_is_cut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own_key = "k-9f8e7d6c5b4a3210"
    monkeypatch.setenv("SOME_PROVIDER_API_KEY", own_key)
    secrets._known.cache_clear()
    try:
        said = describe(ValueError(" " * (READ_CHARS - 9) + own_key))
    finally:
        secrets._known.cache_clear()
    assert said == "ValueError: (hidden)"
