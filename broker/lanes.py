"""The lanes: one per class of job, each with a side for work that waits and one that computes."""

from __future__ import annotations

from itertools import product

from store.states import JobClass, Work

PREFIX = "stepwell"


def lane_of(job_class: JobClass, work: Work) -> str:
    """The name of the queue on Redis, as Flower shows it."""
    return f"{PREFIX}.{job_class.value}.{work.value}"


def lanes_of(work: Work) -> list[str]:
    """The lanes a worker of this kind listens to, most urgent class first."""
    return [lane_of(job_class, work) for job_class in JobClass]


ALL_LANES = {lane_of(c, w): (c, w) for c, w in product(JobClass, Work)}
