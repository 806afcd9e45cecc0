"""Links: in a job that has read texts from outside, nothing it writes may point anywhere new.

A link or a picture in a report is a way out: whoever opens it tells its host whatever stands in the
address. A model that was talked into it writes the data there. So addresses that the job was not
given are taken out of what a tainted job writes and answers, with the name of the host left; and to
read from one needs a person's confirmation.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from jobs.guards.guard import Context, Stage, Verdict, allow, confirm, replace
from jobs.guards.texts import texts_in, with_texts

REST = r"[^\s<>\"'`\\\])}]+"
# With any scheme, without one but with `//`, or a name that mail programs make a link of. Before it
# may stand what does so in Markdown, such as `_`.
LINK = re.compile(
    r"(?i)(?:(?<![A-Za-z0-9])(?:[a-z][a-z0-9+.-]{1,30}://|https?:/{0,3}|data:\w+/|(?:java|vb)script:"
    r"|mailto:|tel:|sms:|www\.)|(?<![A-Za-z0-9/:])//)" + REST
)
# A bare name or number with something after it, which some programs make a link of.
NAME = r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.){1,8}[a-z]{2,24}|\d{1,3}(?:\.\d{1,3}){3}"
BARE = re.compile(rf"(?i)(?<![A-Za-z0-9@./-])(?:{NAME})(?::\d+)?[/?#]" + REST)
# A text that is such an address and nothing else. A bare name may as well be that of a file.
ADDRESS = re.compile(rf"(?i)(?:{NAME})(?::\d+|(?::\d+)?[/?#].*)", re.DOTALL)
# What may stand around an address that is read from.
AROUND = " \t\r\n<>\"'()[]"
# A text without any of these holds no link.
SIGNS = ("/", ":", "?", "#", "www.", "WWW.")


@dataclass(frozen=True)
class Links:
    """`allowed` are hosts that may be pointed at, each with all below it."""

    allowed: Sequence[str] = ()
    name: str = "links"
    stages: frozenset[Stage] = frozenset({Stage.TOOL_ARGS, Stage.JOB_OUTPUT, Stage.JOB_POST})

    def check(self, stage: Stage, value: Any, context: Context) -> Verdict:
        if not context.taint:
            return allow()
        known = " ".join(texts_in(context.asked))
        if stage is Stage.TOOL_ARGS and context.effect == "read":
            return self._judge_reading(value, known)
        taken: list[str] = []

        def take_out(match: re.Match[str]) -> str:
            link = match[0]
            if self._may_point_at(link, known):
                return link
            host = host_of(link)
            taken.append(host)
            return f"[link to {host or 'elsewhere'} taken out]"

        def clean(text: str) -> str:
            if not any(sign in text for sign in SIGNS):
                return text
            return BARE.sub(take_out, LINK.sub(take_out, as_read(text)))

        cleaned = with_texts(value, clean)
        if not taken:
            return allow()
        return replace(cleaned, "It pointed to where the job was not asked to.", links=len(taken))

    def _judge_reading(self, value: Any, known: str) -> Verdict:
        """A call that reads tells nobody anything, unless it is an address that it reads from."""
        written = (as_read(text).strip(AROUND) for text in texts_in(value))
        links = [text for text in written if is_address(text)]
        new = [link for link in links if not self._may_point_at(link, known)]
        if not new:
            return allow()
        return confirm("It reads from an address that the job was not given.", links=len(new))

    def _may_point_at(self, link: str, known: str) -> bool:
        host = host_of(link)
        return link in known or any(_is_below(host, name) for name in self.allowed)


def as_read(text: str) -> str:
    """The text as a reader of markup reads it, where that makes more links of it."""
    if "&" not in text:
        return text
    read = html.unescape(text)
    return read if len(LINK.findall(read)) > len(LINK.findall(text)) else text


def is_address(text: str) -> bool:
    """Whether a call might read from this argument. One that holds an address further in is a text.

    All of it counts, as whoever reads from it takes all of it, whatever a text would break off.
    """
    return bool(LINK.match(text) or ADDRESS.fullmatch(text))


def host_of(link: str) -> str:
    """The host that a link points at, as far as it names one."""
    written = link if "://" in link or link.startswith("//") else f"//{link}"
    try:
        host = urlsplit(written).hostname or ""
    except ValueError:
        return ""
    return host if re.fullmatch(r"[\w.-]{1,253}", host) and "." in host else ""


def _is_below(host: str, name: str) -> bool:
    return bool(host) and (host == name.casefold() or host.endswith(f".{name.casefold()}"))
