"""The one protocol of all guards: what they are shown, and what they may say of it.

    job.input      what a job is given, before it exists
    model.request  what a model is about to be sent
    tool.args      what a tool is about to be called with
    tool.result    what a tool returned, before it is kept or shown
    job.output     the answer, while the model can still be told what is wrong with it
    job.post       the answer as it leaves, for whoever asked

A guard looks at a JSON value and says one of these, the mildest first:

    allow    it may pass
    replace  something else passes in its place
    retry    the model is told once what is wrong with it; the same again halts
    confirm  it may pass when a person has confirmed it
    halt     the job is parked until a person has looked at it, and goes on or is given up
    block    it does not pass, and no person is asked

Guards are pure: the same value in the same context gets the same verdict, on any machine, they
change nothing, and what they put in the place of a value they let pass. What they may need to look
up is in the context, and is looked up when they ask.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from store.invocation import Invocation
from store.rows import CheckpointRow
from store.states import GuardStage as Stage
from store.states import GuardVerdict as Kind

__all__ = [
    "EVERYWHERE",
    "Context",
    "Guard",
    "Kind",
    "Records",
    "Stage",
    "Verdict",
    "allow",
    "block",
    "confirm",
    "halt",
    "replace",
    "retry",
]

EVERYWHERE = frozenset(Stage)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one guard says of one value.

    `value` is what takes its place, of a `replace`. `found` is what the verdict rests on, as kinds
    and counts: it is kept, so it never holds the thing that was found. A guard that `vouches` has
    looked at where a call may lead, and says that not even a text that means harm gains by it.
    """

    kind: Kind
    reason: str = ""
    value: Any = None
    found: Mapping[str, Any] = field(default_factory=dict)
    vouches: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether it is an allow that says nothing more, which is only counted."""
        return self.kind is Kind.ALLOW and not self.found


class Records(Protocol):
    """The artifacts of the job, as guards may read them."""

    def load(self, ref_id: Any) -> bytes:
        """The bytes of an artifact."""
        ...

    def list(self) -> list[Any]:
        """Every artifact of the job, each with an `id` and a `name`."""
        ...


@dataclass(frozen=True, slots=True)
class Context:
    """What a guard may know beside the value.

    An `input` that is tainted may be what a text from outside has said (see `asked`).
    `taint` names what the model had read from outside when it made this call or answer. `in_a_row`
    and `in_all` say in how many turns this same call was made, this time included. `retried` are
    the guards by whom the model was told of something wrong at this stage before. `is_vouched` says
    that a guard before this one vouched for the call.
    """

    agent: str
    input: Mapping[str, Any]
    is_input_tainted: bool = False
    invocation: Invocation | None = None
    tool: str | None = None
    effect: str | None = None
    under_taint: str = "confirm"
    taint: tuple[str, ...] = ()
    in_a_row: int = 1
    in_all: int = 1
    retried: frozenset[str] = frozenset()
    is_vouched: bool = False
    confidence_min: float = 1.0
    records: Records | None = None
    # The committed steps of the job, in order.
    steps: Callable[[], Sequence[CheckpointRow]] = lambda: ()

    @property
    def asked(self) -> Mapping[str, Any]:
        """What the requester has said: the input, or nothing where somebody else may have."""
        return {} if self.is_input_tainted else self.input


class Guard(Protocol):
    """Something that looks at values of some stages. Its name is its own within an agent."""

    @property
    def name(self) -> str: ...

    @property
    def stages(self) -> frozenset[Stage]: ...

    def check(self, stage: Stage, value: Any, context: Context) -> Verdict:
        """What it says of this value. Whatever it raises counts as a block."""
        ...


def allow(*, vouches: bool = False, **found: Any) -> Verdict:
    return Verdict(Kind.ALLOW, found=found, vouches=vouches)


def replace(value: Any, reason: str, **found: Any) -> Verdict:
    return Verdict(Kind.REPLACE, reason, value, found)


def retry(reason: str, **found: Any) -> Verdict:
    return Verdict(Kind.RETRY, reason, found=found)


def confirm(reason: str, **found: Any) -> Verdict:
    return Verdict(Kind.CONFIRM, reason, found=found)


def halt(reason: str, **found: Any) -> Verdict:
    return Verdict(Kind.HALT, reason, found=found)


def block(reason: str, **found: Any) -> Verdict:
    return Verdict(Kind.BLOCK, reason, found=found)
