"""What is asked, and done: declare agents, tools and pipelines here; the rest keeps them alive.

The face of the house is imported on first use, so `import jobs` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobs.agent.agent import Agent, Limits
    from jobs.agent.pipeline import Pipeline, StepContext
    from jobs.agent.tool import Tool, ToolContext, ToolFailed, tool

__all__ = [
    "Agent",
    "Limits",
    "Pipeline",
    "StepContext",
    "Tool",
    "ToolContext",
    "ToolFailed",
    "tool",
]

_HOMES = {
    "Agent": "jobs.agent.agent",
    "Limits": "jobs.agent.agent",
    "Pipeline": "jobs.agent.pipeline",
    "StepContext": "jobs.agent.pipeline",
    "Tool": "jobs.agent.tool",
    "ToolContext": "jobs.agent.tool",
    "ToolFailed": "jobs.agent.tool",
    "tool": "jobs.agent.tool",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'jobs' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
