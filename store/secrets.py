"""Secrets: the keys this process was given, and how to keep them out of what is written down.

Other people's error messages repeat what they were sent. Whatever becomes a log line or a row goes
through `hide` first.
"""

from __future__ import annotations

import os
import re
from functools import cache

SECRET_NAMES = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD)$")
# What is shorter would be found inside ordinary words.
CHARS_MIN = 8


def hide(text: str) -> str:
    """The text without the values of environment variables that are named like secrets."""
    for secret in _known():
        if secret in text:
            text = text.replace(secret, "(hidden)")
    return text


@cache
def _known() -> tuple[str, ...]:
    values = {value for name, value in os.environ.items() if SECRET_NAMES.search(name)}
    return tuple(sorted((v for v in values if len(v) >= CHARS_MIN), key=len, reverse=True))
