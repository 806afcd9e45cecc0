"""What is asked, and done: declare agents, tools and pipelines here; the rest keeps them alive.

The face of the house is imported on first use, so `import jobs` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobs.agent.agent import Agent, Limits
    from jobs.agent.asking import ask_user
    from jobs.agent.budget import Budget
    from jobs.agent.delegation import delegate_to
    from jobs.agent.pipeline import Pipeline, StepContext
    from jobs.agent.scheduling import reschedule_self, schedule_tool
    from jobs.agent.tool import Found, Tool, ToolContext, ToolFailed, tool
    from jobs.agent.waiting import NOTHING, AskUser, Child, Delegate, Sleep, Wait, WaitFor
    from jobs.policy.judgement import Verdict
    from jobs.policy.rules import (
        ALLOW,
        Approve,
        always,
        approve_if,
        came_by,
        confirm_if,
        deny_if,
    )

__all__ = [
    "ALLOW",
    "NOTHING",
    "Agent",
    "Approve",
    "AskUser",
    "Budget",
    "Child",
    "Delegate",
    "Found",
    "Limits",
    "Pipeline",
    "Sleep",
    "StepContext",
    "Tool",
    "ToolContext",
    "ToolFailed",
    "Verdict",
    "Wait",
    "WaitFor",
    "always",
    "approve_if",
    "ask_user",
    "came_by",
    "confirm_if",
    "delegate_to",
    "deny_if",
    "reschedule_self",
    "schedule_tool",
    "tool",
]

_HOMES = {
    "ALLOW": "jobs.policy.rules",
    "NOTHING": "jobs.agent.waiting",
    "Agent": "jobs.agent.agent",
    "Approve": "jobs.policy.rules",
    "AskUser": "jobs.agent.waiting",
    "Budget": "jobs.agent.budget",
    "Child": "jobs.agent.waiting",
    "Delegate": "jobs.agent.waiting",
    "Found": "jobs.agent.tool",
    "Limits": "jobs.agent.agent",
    "Pipeline": "jobs.agent.pipeline",
    "Sleep": "jobs.agent.waiting",
    "StepContext": "jobs.agent.pipeline",
    "Tool": "jobs.agent.tool",
    "ToolContext": "jobs.agent.tool",
    "ToolFailed": "jobs.agent.tool",
    "Verdict": "jobs.policy.judgement",
    "Wait": "jobs.agent.waiting",
    "WaitFor": "jobs.agent.waiting",
    "delegate_to": "jobs.agent.delegation",
    "reschedule_self": "jobs.agent.scheduling",
    "schedule_tool": "jobs.agent.scheduling",
    "always": "jobs.policy.rules",
    "approve_if": "jobs.policy.rules",
    "ask_user": "jobs.agent.asking",
    "came_by": "jobs.policy.rules",
    "confirm_if": "jobs.policy.rules",
    "deny_if": "jobs.policy.rules",
    "tool": "jobs.agent.tool",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'jobs' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
