"""The hot transitions: one file, one function of the database, one essay each."""

from __future__ import annotations

from importlib.resources import files


def read_all() -> dict[str, str]:
    """Every function of the store by name, as the text that creates or replaces it."""
    folder = files(__name__)
    found = [entry for entry in folder.iterdir() if entry.name.endswith(".sql")]
    return {
        entry.name.removesuffix(".sql"): entry.read_text("utf-8")
        for entry in sorted(found, key=lambda entry: entry.name)
    }
