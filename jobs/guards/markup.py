"""HTML: what a model or a tool wrote as a page keeps its words and loses what acts or reaches out.

Cleaning is nh3's, which parses as browsers do. Left are tags that lay out text; no scripts, styles,
forms or frames, no pictures from elsewhere, and links only where they are asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.guards.guard import Context, Stage, Verdict, allow, replace

TAGS = frozenset(
    {
        "a", "b", "blockquote", "br", "caption", "code", "dd", "div", "dl", "dt", "em", "h1", "h2",
        "h3", "h4", "h5", "h6", "hr", "i", "li", "ol", "p", "pre", "small", "span", "strong", "sub",
        "sup", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "u", "ul",
    }
)  # fmt: skip
ATTRIBUTES = {"a": {"href", "title"}, "td": {"colspan", "rowspan"}, "th": {"colspan", "rowspan"}}


@dataclass(frozen=True)
class CleanHtml:
    """`fields` are the fields that hold HTML: of the arguments or result of each tool by its name,
    and of the job's output under `output`. An empty name is the value itself."""

    fields: Mapping[str, Sequence[str]]
    schemes: frozenset[str] = frozenset({"https", "mailto"})
    name: str = "html"
    stages: frozenset[Stage] = frozenset({Stage.TOOL_ARGS, Stage.TOOL_RESULT, Stage.JOB_POST})

    def check(self, stage: Stage, value: Any, context: Context) -> Verdict:
        named = self.fields.get("output" if stage is Stage.JOB_POST else context.tool or "", ())
        cleaned = value
        for name in named:
            cleaned = self._clean_field(cleaned, name)
        if cleaned == value:
            return allow()
        return replace(cleaned, "Its HTML held what acts or reaches out.")

    def _clean_field(self, value: Any, name: str) -> Any:
        if not name:
            return clean(value, self.schemes) if isinstance(value, str) else value
        if isinstance(value, dict) and isinstance(value.get(name), str):
            return value | {name: clean(value[name], self.schemes)}
        return value


def clean(html: str, schemes: frozenset[str]) -> str:
    """The HTML with nothing in it but laid-out text and links with these schemes."""
    import nh3

    return nh3.clean(
        html,
        tags=set(TAGS),
        attributes={tag: set(names) for tag, names in ATTRIBUTES.items()},
        url_schemes=set(schemes),
        link_rel="noopener noreferrer nofollow",
    )
