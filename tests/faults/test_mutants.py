"""The store broken on purpose: the checker names the law, and is silent about the same unbroken."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from store.embedded import PrivatePostgres
from tests.conftest import Database
from tests.faults import scenes
from tests.faults.laws import LAWS
from tests.faults.mutants import (
    MUTANTS,
    SCENES,
    Mutant,
    Rotten,
    Scene,
    fresh_database,
    infect,
    is_caught,
    one,
    play,
    run_mutants,
)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_is_caught_by_the_law_it_breaks(database: Database, mutant: Mutant) -> None:
    assert is_caught(database, mutant)


@pytest.fixture(scope="module")
def unbroken(postgres: PrivatePostgres, template: str) -> Iterator[Database]:
    """One database for all scenes: none of them disturbs the others."""
    with fresh_database(postgres, "unbroken", of=template) as database:
        yield database


# The scene that forgets all jobs that are over has to come first.
IN_ORDER = sorted(SCENES, key=lambda scene: scene is not scenes.old_jobs_are_forgotten)


@pytest.mark.parametrize("scene", IN_ORDER, ids=lambda scene: scene.__name__)
def test_the_checker_is_silent_about_an_unbroken_store(unbroken: Database, scene: Scene) -> None:
    assert play(unbroken, scene) == []


def test_there_is_a_mutant_for_every_law() -> None:
    assert {mutant.law for mutant in MUTANTS} == set(LAWS)


def test_a_mutant_whose_function_has_changed_is_not_taken_for_caught(database: Database) -> None:
    rotten = Mutant("rotten", LAWS[0], SCENES[0], one("commit_step", "what was there once", ""))
    with pytest.raises(Rotten, match="0 times in commit_step"):
        infect(database, rotten)


def test_the_report_has_its_own_databases_for_them(postgres: PrivatePostgres) -> None:
    some = MUTANTS[:2]
    assert run_mutants(postgres, some) == [(mutant, True) for mutant in some]
