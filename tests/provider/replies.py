"""What the provider may be told to do, and what it was asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call. `arguments` given as text is sent as it is, well-formed or not."""

    name: str
    arguments: dict[str, Any] | str


@dataclass(frozen=True, slots=True)
class Says:
    """An answer: text, or tool calls to be made in parallel, or both.

    The first token comes after `first_token_s`, the last after `takes_s`; the answer is sent in
    about `pieces` pieces. With `breaks_after`, the connection drops after that many of them.
    """

    text: str = ""
    calls: tuple[Call, ...] = ()
    first_token_s: float = 0.0
    takes_s: float = 0.0
    pieces: int = 4
    breaks_after: int | None = None
    input_tokens: int = 20
    output_tokens: int = 10


@dataclass(frozen=True, slots=True)
class Refuses:
    """An error in the shape providers give it."""

    status: int
    message: str
    code: str | None = None
    retry_after_s: int | None = None


@dataclass(frozen=True, slots=True)
class Hangs:
    """Not a byte, until the client hangs up."""


Reply = Says | Refuses | Hangs

RATE_LIMITED = Refuses(429, "Too many requests. Slow down.", "rate_limit_exceeded", 30)
STUMBLES = Refuses(500, "The server had an error.", "server_error")
OVERFLOWS = Refuses(
    400, "This model's maximum context length is 8192 tokens.", "context_length_exceeded"
)


@dataclass(frozen=True, slots=True)
class Asked:
    """One chat request as it came in; header names are in lower case. `number` counts from 0."""

    number: int
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def messages(self) -> list[dict[str, Any]]:
        return list(self.body["messages"])

    @property
    def tools(self) -> list[str]:
        """The names of the tools on offer."""
        return [tool["function"]["name"] for tool in self.body.get("tools", [])]

    @property
    def returned(self) -> list[Any]:
        """What tools have returned so far, in the order the model is shown it, as text."""
        return [each["content"] for each in self.messages if each["role"] == "tool"]

    @property
    def is_streamed(self) -> bool:
        return bool(self.body.get("stream"))


# What to answer: a function of the request, or a list with the answer to each request in turn.
Script = Callable[[Asked], Reply] | Sequence[Reply]
