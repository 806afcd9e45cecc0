"""The page about errors: it knows every class that there is, and its examples can be declared."""

from __future__ import annotations

import re

from jobs import tool
from jobs.lifecycle.error_classes import ErrorClass
from tests.processes import ROOT

PAGE = (ROOT / "docs" / "errors.md").read_text()


def test_every_class_has_its_row() -> None:
    first_cells = re.findall(r"^\| (`.+?) \|", PAGE, re.M)
    told = {name for cell in first_cells for name in re.findall(r"`(\w+)`", cell)}
    assert told == {each.value for each in ErrorClass}


def test_the_tools_of_the_page_can_be_declared() -> None:
    blocks = re.findall(r"^```python\n(@tool.*?)^```", PAGE, re.M | re.S)
    assert len(blocks) == 2
    for block in blocks:
        exec(block, {"tool": tool})


def test_the_page_is_short_enough_to_be_read() -> None:
    assert len(PAGE.splitlines()) < 120
