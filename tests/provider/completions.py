"""The shapes of a chat completion, whole and in pieces."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

from tests.provider.replies import Asked, Call, Refuses, Says


def as_whole(asked: Asked, says: Says) -> dict[str, Any]:
    """The answer as one body."""
    message: dict[str, Any] = {"role": "assistant", "content": says.text or None}
    if says.calls:
        message["tool_calls"] = [
            {
                "id": _id_of(asked, n),
                "type": "function",
                "function": {"name": call.name, "arguments": _arguments_of(call)},
            }
            for n, call in enumerate(says.calls)
        ]
    choice = {"index": 0, "message": message, "finish_reason": _reason_of(says)}
    return _head(asked, "chat.completion") | {"choices": [choice], "usage": _usage_of(says)}


def as_pieces(asked: Asked, says: Says) -> Iterator[dict[str, Any]]:
    """The answer as the chunks of a stream; the arguments of parallel calls come interleaved."""
    head = _head(asked, "chat.completion.chunk")

    def piece(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        return head | {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}

    for n, part in enumerate(_split(says.text, says.pieces)):
        yield piece({"content": part} | ({"role": "assistant"} if n == 0 else {}))
    for n, call in enumerate(says.calls):
        function = {"name": call.name, "arguments": ""}
        begun = {"index": n, "id": _id_of(asked, n), "type": "function", "function": function}
        yield piece({"tool_calls": [begun]})
    split = [_split(_arguments_of(call), says.pieces) for call in says.calls]
    for parts in zip_longest(*split):
        for n, part in enumerate(parts):
            if part is not None:
                yield piece({"tool_calls": [{"index": n, "function": {"arguments": part}}]})
    yield piece({}, _reason_of(says))
    if asked.body.get("stream_options", {}).get("include_usage"):
        yield head | {"choices": [], "usage": _usage_of(says)}


def as_error(refuses: Refuses) -> dict[str, Any]:
    """An error as clients expect it."""
    return {
        "error": {
            "message": refuses.message,
            "type": "invalid_request_error" if refuses.status < 429 else "server_error",
            "param": None,
            "code": refuses.code,
        }
    }


def _head(asked: Asked, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{asked.number}",
        "object": kind,
        "created": 1_700_000_000,
        "model": asked.body.get("model", "unnamed"),
    }


def _usage_of(says: Says) -> dict[str, int]:
    return {
        "prompt_tokens": says.input_tokens,
        "completion_tokens": says.output_tokens,
        "total_tokens": says.input_tokens + says.output_tokens,
    }


def _reason_of(says: Says) -> str:
    return "tool_calls" if says.calls else "stop"


def _id_of(asked: Asked, n: int) -> str:
    return f"call_{asked.number}_{n}"


def _arguments_of(call: Call) -> str:
    return call.arguments if isinstance(call.arguments, str) else json.dumps(call.arguments)


def _split(text: str, pieces: int) -> list[str]:
    size = max(1, -(-len(text) // pieces))
    return [text[start : start + size] for start in range(0, len(text), size)]
