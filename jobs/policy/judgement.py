"""Judgements: what has to happen before one exact tool call may be made, and why.

A rule answers with a `Demand`: a verdict, and for `approve` the roles and the number of people that
are needed. Demands are joined, never exchanged: whoever meets the joined one meets every single one
of them. Nothing that is added to a policy can therefore make it looser.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import reduce
from typing import Any, Self

from store.approvals import OPERATOR

QUORUM_MAX = 10
ROLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:@/-]{0,63}")
# A person has to hold all the roles that are joined by it. No role has it in its name.
AND = " & "


class Verdict(StrEnum):
    """What a call needs: nothing, the requester's yes, the yes of others, or it is not made.

    They are ordered: what is greater is more severe.
    """

    ALLOW = "allow"
    CONFIRM = "confirm"
    APPROVE = "approve"
    DENY = "deny"

    @property
    def severity(self) -> int:
        return _SEVERITY[self]

    # Texts have an order of their own, in which a denial would be less than a confirmation's.
    def __lt__(self, other: str) -> bool:
        return self.severity < Verdict(other).severity

    def __le__(self, other: str) -> bool:
        return self.severity <= Verdict(other).severity

    def __gt__(self, other: str) -> bool:
        return self.severity > Verdict(other).severity

    def __ge__(self, other: str) -> bool:
        return self.severity >= Verdict(other).severity


_SEVERITY = {each: place for place, each in enumerate(Verdict)}


@dataclass(frozen=True, slots=True)
class Demand:
    """What is needed before a call. `roles` and `quorum` say who approves, and how many of them."""

    verdict: Verdict
    roles: frozenset[str] = frozenset()
    quorum: int = 0

    @classmethod
    def approval(cls, role: str | None = None, quorum: int = 1) -> Self:
        """So many people with this role; raises `ValueError` for what cannot be asked for."""
        check_role(role)
        check_quorum(quorum)
        return cls(Verdict.APPROVE, frozenset((role or OPERATOR,)), quorum)

    @classmethod
    def plain(cls, verdict: Verdict) -> Self:
        """What a bare verdict asks for."""
        if verdict is Verdict.APPROVE:
            return cls.approval()
        return cls(verdict, quorum=int(verdict is Verdict.CONFIRM))

    def joined(self, other: Demand) -> Demand:
        """The least demand that whoever meets it meets both.

        The more severe verdict. Of two approvals, the larger quorum, of people with all the roles.
        """
        if self.verdict is not other.verdict:
            return max(self, other, key=lambda each: each.verdict.severity)
        return Demand(self.verdict, self.roles | other.roles, max(self.quorum, other.quorum))

    def escalated(self) -> Demand:
        """The next more severe demand: what a rule asks for that cannot tell whether it applies."""
        return _NEXT[self.verdict]


def join(demands: Iterable[Demand]) -> Demand:
    """All of them at once; nothing is asked for where there are none."""
    return reduce(Demand.joined, demands, NOTHING)


def check_role(role: str | None) -> None:
    """Raise `ValueError` unless it can be a role's name."""
    if role is not None and not (isinstance(role, str) and ROLE.fullmatch(role)):
        raise ValueError(
            f"{role!r} is no role. Write up to 64 letters, digits and any of _ . : @ / - without "
            "spaces, such as finance."
        )


def check_quorum(quorum: int) -> None:
    """Raise `ValueError` unless so many people can be asked for."""
    if isinstance(quorum, bool) or not isinstance(quorum, int) or not 1 <= quorum <= QUORUM_MAX:
        raise ValueError(f"A quorum is 1 to {QUORUM_MAX} people, not {quorum!r}.")


NOTHING = Demand.plain(Verdict.ALLOW)
_NEXT = {
    Verdict.ALLOW: Demand.plain(Verdict.CONFIRM),
    Verdict.CONFIRM: Demand.approval(),
    Verdict.APPROVE: Demand.plain(Verdict.DENY),
    Verdict.DENY: Demand.plain(Verdict.DENY),
}


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one call needs, frozen with the call.

    `role` is None unless somebody has to approve; then it names one role, or several joined by
    ` & `, all of which an approver has to hold. `rules` are the ids of the rules that spoke, the
    most severe first, and `reasons` what they said.

    The version is that of all rules that were asked; with the two hashes it tells whether the
    judgement is still about the policy, the arguments and the tool that there are.
    """

    verdict: Verdict
    role: str | None
    quorum: int
    reasons: tuple[str, ...]
    rules: tuple[str, ...]
    policy_version: str
    args_sha256: str
    tool_sha256: str

    @property
    def demand(self) -> Demand:
        return Demand(self.verdict, roles_in(self.role), self.quorum)

    def asks_more_than(self, other: Judgement) -> bool:
        """Whether meeting the other one would not meet this one."""
        return other.demand.joined(self.demand) != other.demand

    def as_json(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "verdict": self.verdict.value,
            "reasons": list(self.reasons),
            "rules": list(self.rules),
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Self:
        """The judgement as it was frozen; raises `ValueError` for what is none."""
        try:
            read = cls(
                verdict=Verdict(told["verdict"]),
                role=told["role"],
                quorum=told["quorum"],
                reasons=tuple(told["reasons"]),
                rules=tuple(told["rules"]),
                policy_version=told["policy_version"],
                args_sha256=told["args_sha256"],
                tool_sha256=told["tool_sha256"],
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"This is no judgement: {error!r}.") from error
        _check_approval(read)
        return read


def roles_in(role: str | None) -> frozenset[str]:
    """The roles that a judgement's `role` names, all of which an approver has to hold."""
    return frozenset() if role is None else frozenset(role.split(AND))


def role_of(roles: Iterable[str]) -> str | None:
    """Several roles as the one text a judgement has for them."""
    return AND.join(sorted(roles)) or None


def _check_approval(read: Judgement) -> None:
    # An approval that nobody need give, or anybody may, would be none.
    if read.verdict is Verdict.APPROVE:
        check_quorum(read.quorum)
        for role in roles_in(read.role) or {""}:
            check_role(role)
