"""Rules beside the tool: typed predicates over the arguments and over how the job came to be.

A rule is one of

    confirm_if(lambda amount, **_: amount > 100)            the requester has to say yes
    approve_if(is_large, role="finance", quorum=2)          two people of finance have to
    deny_if(lambda invocation, **_: invocation.depth > 1)   it is not made
    weigh                                                   a function (args, invocation) that says

A predicate names the arguments it looks at and is given those, as the tool would be; one that names
`invocation` is given that. It answers True or False. A function answers with a `Verdict`, with
`Approve(role, quorum)`, or with None when it has nothing to say.

A rule that raises, or answers anything else, has failed, and a failure never lets a call through:
a predicate's rule then speaks as the next more severe verdict than its own, a function denies.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from jobs.errors import Misdeclared
from jobs.policy.fingerprints import face_of
from jobs.policy.judgement import Demand, Verdict, check_quorum, check_role
from store.approvals import OPERATOR
from store.invocation import Invocation
from store.states import Origin

# A predicate that names this is given the invocation under it.
INVOCATION = "invocation"

Args = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Approve:
    """What a function answers when others have to approve: so many people with this role."""

    role: str = OPERATOR
    quorum: int = 1


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. `demand` is what it asks for when it applies; a function's is None: it says so.

    `face` is its text, and what of its values is known. `parameters` are the arguments that its
    predicate names; with `takes_rest` it is given the others, too.
    """

    id: str
    function: Callable[..., Any]
    demand: Demand | None
    reason: str
    face: str
    parameters: tuple[str, ...] = ()
    takes_rest: bool = False

    def ask(self, args: Args, invocation: Invocation) -> Demand | None:
        """What it asks for of this call; None when it has nothing to say. May raise anything."""
        if self.demand is None:
            return _demand_of(self.function(MappingProxyType(dict(args)), invocation))
        applies = self.function(**self._chosen(args, invocation))
        if not isinstance(applies, bool):
            # "unsafe" is a true value, and so is an awaitable that nobody awaits.
            raise TypeError(f"it answered with {type(applies).__name__}, not True or False")
        return self.demand if applies else None

    @property
    def demand_of_failure(self) -> Demand:
        """What it asks for when it cannot tell."""
        if self.demand is None:
            return Demand.plain(Verdict.DENY)
        return self.demand.escalated()

    def _chosen(self, args: Args, invocation: Invocation) -> dict[str, Any]:
        given = {INVOCATION: invocation, **args}
        chosen = {name: given[name] for name in self.parameters if name in given}
        return {**args, **chosen} if self.takes_rest else chosen


RuleLike = Rule | Callable[[Args, Invocation], Verdict | Approve | None]
# What a tool declares. One that declares none is judged by what it does to the world.
Policy = Sequence[RuleLike]

# The author has thought about it: every call may be made.
ALLOW: Policy = ()


def always(**_: Any) -> bool:
    """The predicate that applies to every call."""
    return True


def came_by(*origins: str) -> Callable[..., bool]:
    """The predicate that applies when the job, or one above it, came through such a door."""
    doors = frozenset(map(Origin, origins))

    def came_by_them(invocation: Invocation) -> bool:
        return not doors.isdisjoint(invocation.origins)

    came_by_them.__name__ = "came_by_" + "_or_".join(sorted(doors))
    return came_by_them


def confirm_if(predicate: Callable[..., bool], *, name: str = "", reason: str = "") -> Rule:
    """The requester has to say yes to such a call."""
    return _rule(predicate, Demand.plain(Verdict.CONFIRM), name, reason)


def approve_if(
    predicate: Callable[..., bool],
    *,
    role: str = OPERATOR,
    quorum: int = 1,
    name: str = "",
    reason: str = "",
) -> Rule:
    """So many people who hold the role, none of them the requester, have to approve such a call."""
    try:
        demand = Demand.approval(role, quorum)
    except ValueError as error:
        raise Misdeclared(str(error)) from None
    return _rule(predicate, demand, name, reason)


def deny_if(predicate: Callable[..., bool], *, name: str = "", reason: str = "") -> Rule:
    """Such a call is not made."""
    return _rule(predicate, Demand.plain(Verdict.DENY), name, reason)


def read_policy(policy: Policy | None, arguments: Collection[str]) -> tuple[Rule, ...] | None:
    """The rules of a tool with these arguments, each with an id; raises `Misdeclared`.

    A predicate that names an argument the tool has not would fail at every call.
    """
    if policy is None:
        return None
    if isinstance(policy, str) or not isinstance(policy, Sequence):
        raise Misdeclared(f"A policy is a list of rules such as [confirm_if(...)], not {policy!r}.")
    rules = tuple(_named(_as_rule(each), n) for n, each in enumerate(policy, start=1))
    ids = [rule.id for rule in rules]
    twice = sorted({each for each in ids if ids.count(each) > 1})
    if twice:
        raise Misdeclared(f"Two rules of a tool are named {', '.join(twice)}. Give each a name=")
    for rule in rules:
        _check_parameters(rule, arguments)
    return rules


def _as_rule(given: RuleLike) -> Rule:
    if isinstance(given, Rule):
        return given
    if not callable(given) or isinstance(given, type):
        raise Misdeclared(f"{given!r} is no rule. Write confirm_if(...), or a function.")
    _check_function(given)
    try:
        inspect.signature(given).bind("args", "invocation")
    except (TypeError, ValueError):
        raise Misdeclared(
            f"{_name_of(given)} is no rule: a plain function takes (args, invocation). A predicate "
            "goes into confirm_if, approve_if or deny_if."
        ) from None
    return Rule(_name_of(given), given, None, _first_line(given), face_of(given))


def _rule(predicate: Callable[..., bool], demand: Demand, name: str, reason: str) -> Rule:
    if not callable(predicate):
        raise Misdeclared(f"{predicate!r} is no predicate. Write a function of the arguments.")
    _check_function(predicate)
    told = f"{demand.verdict} {sorted(demand.roles)} {demand.quorum}"
    parameters = _parameters_of(predicate)
    named = tuple(each.name for each in parameters if each.kind is not each.VAR_KEYWORD)
    return Rule(
        id=name or _name_of(predicate),
        function=predicate,
        demand=demand,
        reason=reason or _first_line(predicate),
        face=f"{told}\n{face_of(predicate)}",
        parameters=named,
        takes_rest=len(named) < len(parameters),
    )


def _named(rule: Rule, n: int) -> Rule:
    """A rule that has no name of its own is called by what it does and where it stands."""
    if rule.id:
        return rule
    return replace(rule, id=f"{rule.demand.verdict if rule.demand else 'rule'}-{n}")


def _parameters_of(predicate: Callable[..., bool]) -> list[inspect.Parameter]:
    try:
        parameters = list(inspect.signature(predicate).parameters.values())
    except (TypeError, ValueError):
        raise Misdeclared(f"Nobody can tell what {predicate!r} takes. Write a function.") from None
    if any(each.kind in (each.POSITIONAL_ONLY, each.VAR_POSITIONAL) for each in parameters):
        raise Misdeclared(
            f"The predicate {_name_of(predicate) or predicate} is given arguments by name. Name "
            "those it looks at: lambda amount, **_: amount > 100."
        )
    return parameters


def _check_parameters(rule: Rule, arguments: Collection[str]) -> None:
    if rule.demand is None:
        return
    for each in inspect.signature(rule.function).parameters.values():
        is_open = each.kind is each.VAR_KEYWORD or each.default is not each.empty
        if each.name == INVOCATION and INVOCATION in arguments:
            raise Misdeclared(
                f"Rule {rule.id!r} names {INVOCATION!r}, which is an argument of the tool, too. "
                "Write a function (args, invocation) instead."
            )
        if not is_open and each.name not in arguments and each.name != INVOCATION:
            known = ", ".join(sorted(arguments)) or "none"
            raise Misdeclared(
                f"Rule {rule.id!r} looks at {each.name!r}, which is no argument of the tool. "
                f"It has: {known}."
            )


def _check_function(function: Callable[..., Any]) -> None:
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise Misdeclared(f"{_name_of(function)} is a coroutine function; a rule is a plain one.")


def _demand_of(said: Any) -> Demand | None:
    """What a function has answered; raises for what is no answer."""
    match said:
        case None:
            return None
        case Verdict():
            return Demand.plain(said)
        case Approve(role, quorum):
            check_role(role)
            check_quorum(quorum)
            return Demand.approval(role, quorum)
        case _:
            raise TypeError(f"it answered with {type(said).__name__}, not a verdict")


def _name_of(function: Callable[..., Any]) -> str:
    """Its name; empty for one that has none."""
    name = getattr(function, "__name__", "")
    return "" if name == "<lambda>" else str(name)


def _first_line(function: Callable[..., Any]) -> str:
    """What its docstring says first: why such calls are asked about."""
    if isinstance(function, type) or not inspect.isroutine(function):
        return ""
    return (inspect.getdoc(function) or "").strip().partition("\n")[0]
