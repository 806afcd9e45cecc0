"""The client's verbs of policy: a tenant's rules, and how a call would be judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .connection import Connection, given
from .errors import Shape


class Policies:
    """What a client can do about what is asked for before calls of tools."""

    _connection: Connection

    def policy_rules(self) -> list[Shape]:
        """The tenant's rules that hold now, by id."""
        return list(self._connection.ask("GET", "/v1/policy/rules")["data"])

    def put_policy_rule(
        self,
        rule_id: str,
        *,
        tool: str,
        expression: str,
        verdict: str,
        role: str | None = None,
        quorum: int | None = None,
    ) -> Shape:
        """Ask for something before calls that the expression applies to, or change such a rule.

        `verdict` is `confirm`, `approve` (by `quorum` people with a `role`) or `deny`.

        Raises:
            Refused: the rule could not work, or there are as many as there may be.
        """
        body = {"tool": tool, "expression": expression, "verdict": verdict}
        body |= given({"role": role, "quorum": quorum})
        return self._connection.ask("PUT", f"/v1/policy/rules/{rule_id}", json=body)

    def remove_policy_rule(self, rule_id: str) -> Shape:
        """Let a rule hold no longer; returns its last version."""
        return self._connection.ask("DELETE", f"/v1/policy/rules/{rule_id}")

    def judge(
        self,
        tool: str,
        args: Mapping[str, Any],
        *,
        agent: str | None = None,
        origin: str | None = None,
        origins_above: Sequence[str] = (),
        requester: str | None = None,
        roles: Sequence[str] = (),
    ) -> Shape:
        """How such a call would be judged now; nothing is called.

        Raises:
            Refused: there is no such tool (404), or the arguments do not fit it (422).
        """
        more = {"agent": agent, "origin": origin, "requester": requester}
        body = {"tool": tool, "args": args, "origins_above": origins_above, "roles": roles}
        return self._connection.ask("POST", "/v1/policy/test", json={**body, **given(more)})
