"""The allow-list of recipients: whom a job may write to, whatever its model asks for.

Allowed are the addresses in named fields of the job's own input, if it was the requester who gave
them, and those that the agent declares (an address, or a whole domain as `@example.com`). A call
that writes to nobody else is vouched for: a text that means harm gains nothing by it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.policy import default
from typing import Any

from jobs.guards.guard import Context, Stage, Verdict, allow, block, confirm
from jobs.guards.texts import leaves_at, texts_at

# One address and nothing else, in any alphabet.
PLAIN = re.compile(r"[^\s@,;:<>()\[\]\"\\]+@[^\s@,;:<>()\[\]\"\\]+")


@dataclass(frozen=True)
class Recipients:
    """`arguments` are the paths to addresses in the arguments of each tool that writes to people,
    such as `{"send_email": ("to", "cc")}`; `own` the paths in the job's input. A call that names
    nobody leaves it to the tool, which then writes to whom the job's input names: one that names
    somebody must write to nobody else. An address in an input that an outside text may have written
    needs a person's confirmation, and has to be named for it."""

    arguments: Mapping[str, Sequence[str]]
    own: Sequence[str] = ("email",)
    allowed: Sequence[str] = ()
    name: str = "recipients"
    stages: frozenset[Stage] = frozenset({Stage.TOOL_ARGS})

    def check(self, stage: Stage, value: Any, context: Context) -> Verdict:
        paths = self.arguments.get(context.tool or "")
        if paths is None:
            return allow()
        allowed = {*map(normal, self.allowed), *self._own_of(context.asked)} - {""}
        named = [*self._named_in(value, paths)]
        strangers = [address for address in named if not is_among(address, allowed)]
        doubtful = self._doubtful_of(context, allowed)
        if doubtful and not named:
            return block("Name whom it is for: the request's address may be an outside text's.")
        if strangers and doubtful.issuperset(strangers) and "" not in strangers:
            return confirm(
                "The request's address may be an outside text's, as no person has seen it.",
                strangers=len(strangers),
            )
        if strangers:
            return block(
                "It may not be sent there: a job writes only to the addresses in its request, "
                "and to those its agent allows.",
                strangers=len(strangers),
            )
        return allow(vouches=bool(allowed))

    def _doubtful_of(self, context: Context, allowed: set[str]) -> set[str]:
        """The addresses that an outside text may have put into the job's input."""
        own = self._own_of(context.input) if context.is_input_tainted else ()
        return {address for address in own if not is_among(address, allowed)}

    def _own_of(self, given: Mapping[str, Any]) -> Iterator[str]:
        for path in self.own:
            for text in texts_at(given, path):
                yield from read_addresses(text)

    @staticmethod
    def _named_in(value: Any, paths: Sequence[str]) -> Iterator[str]:
        for path in paths:
            for leaf in leaves_at(value, path):
                # What is no text is no address that anybody here has read.
                yield from read_addresses(leaf) if isinstance(leaf, str) else [""]


def read_addresses(text: str) -> Iterator[str]:
    """The addresses in a header's or field's text; an empty one for what cannot be read as such."""
    if not text.strip():
        return
    if PLAIN.fullmatch(text.strip()):
        yield normal(text)
        return
    header = default.header_factory("to", text) if text.isprintable() else None
    if header is None or header.defects or not header.addresses:
        yield ""
        return
    yield from (normal(address.addr_spec) for address in header.addresses)


def normal(address: str) -> str:
    """The address as it is compared: domains are the same in any case, and so are mailboxes.

    Letters that only look alike in a fold, such as `ß` and `ss`, are of different domains.
    """
    return address.strip().lower()


def is_among(address: str, allowed: set[str]) -> bool:
    _, at, domain = address.rpartition("@")
    return address in allowed or (bool(at) and f"@{domain}" in allowed)
