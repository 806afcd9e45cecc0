"""Which agents and pipelines are served here: those found in the modules the settings name."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path

from jobs.agent.agent import Agent
from jobs.agent.pipeline import Pipeline
from jobs.errors import Misdeclared, UnknownAgent

Program = Agent | Pipeline


class Registry:
    """Agents and pipelines by name."""

    def __init__(self, programs: Iterable[Program]) -> None:
        self.agents: dict[str, Program] = {}
        for program in programs:
            if self.agents.setdefault(program.name, program) is not program:
                raise Misdeclared(f"Two agents are named {program.name!r}.")

    @classmethod
    def load(cls, modules: str) -> Registry:
        """Import the modules (names separated by commas) and collect what they declare.

        They may lie in the current folder; what is installed comes first.
        """
        here = str(Path.cwd())
        if here not in sys.path:
            sys.path.append(here)
        found: list[Program] = []
        for name in filter(None, (part.strip() for part in modules.split(","))):
            try:
                module = import_module(name)
            except ModuleNotFoundError as error:
                raise Misdeclared(f"STEPWELL_AGENTS names {name!r}: {error}.") from error
            found += [each for each in vars(module).values() if isinstance(each, Program)]
        return cls(found)

    def find(self, name: str) -> Program:
        """The agent or pipeline of that name; raises `UnknownAgent` with a suggestion."""
        if name in self.agents:
            return self.agents[name]
        close = get_close_matches(name, self.agents, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        served = ", ".join(sorted(self.agents)) or "none"
        raise UnknownAgent(f"No agent is named {name!r} here.{hint} Served: {served}.")
