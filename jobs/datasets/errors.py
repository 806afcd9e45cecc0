"""What can go wrong with a person's table or question, said so that the person can act on it.

    Refused (ValueError)            the confined child looked and said no; a message for people
    ├── UnreadableDataset           the file is not a table we can read: fix the file
    └── RefusedQuery                the SQL is not allowed or does not run: fix the query

Everything else a confined child can do wrong (time, memory, a crash) is in `jobs.datasets.confine`.
"""

from __future__ import annotations


class Refused(ValueError):
    """An expected no, with a message a person can act on; travels out of a confined child whole."""


class UnreadableDataset(Refused):
    """This file cannot be read as a table; the message says what is wrong and what to do."""


class RefusedQuery(Refused):
    """This SQL may not run, or does not; the message says why, in words a model can act on."""
