"""Asking: a tool by which a model asks a person what it cannot know, and waits for the answer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from jobs.agent.tool import Tool, ToolFailed, tool
from jobs.agent.waiting import NOTHING, AskUser
from jobs.errors import Misdeclared
from store.states import Origin


def ask_user(
    *,
    name: str = "ask_user",
    origins: Iterable[Origin | str] | None = None,
    expires_s: float | None = None,
    default: Any = NOTHING,
) -> Tool:
    """A tool that asks a question of whoever answers for the job, and returns the answer.

    The job is parked meanwhile and holds nothing, for days if need be. `stepwell questions` shows
    what is asked, and `stepwell answer` answers.

    Args:
        name: what the model calls the tool.
        origins: as for `@tool`; nobody may be there to answer what a schedule has begun.
        expires_s: seconds after which nobody will answer any more.
        default: the answer then, as JSON; without one the call has failed, and the model is told.

    Raises `Misdeclared`.
    """
    AskUser("?", expires_s=expires_s, default=default)  # complains now about what cannot be

    def ask(question: str, choices: list[str] | None = None) -> AskUser:
        """Ask a person something that only a person can say, and wait for the answer.

        Args:
            question: all that they need to know to answer it.
            choices: the answers to choose from; leave it out for an answer in their own words.
        """
        try:
            return AskUser(question, tuple(choices or ()), expires_s=expires_s, default=default)
        except Misdeclared as error:
            raise ToolFailed(str(error)) from None

    # It changes nothing, whatever is asked.
    return tool(effect="read", name=name, origins=origins)(ask)
