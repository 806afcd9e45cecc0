"""Model names: what can be made, and what is refused before anything is created."""

from __future__ import annotations

import pytest
from pydantic import SecretStr
from pydantic_ai.models.function import FunctionModel

from jobs import Agent
from jobs.agent.model import Models, check_model_name
from jobs.errors import UnknownModel
from jobs.settings import Settings
from tests.programs import follow_script

OWN = FunctionModel(follow_script, model_name="own")
WITH_OFFLINE = Agent("with", "openai:gpt-5-mini", "", offline=lambda: OWN)
WITHOUT = Agent("without", "openai:gpt-5-mini", "")


@pytest.mark.parametrize("name", ["openai:gpt-5-mini", "anthropic:claude-haiku-4-5", "openai:x:y"])
def test_names_of_providers_we_have_are_good_without_any_key(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(key, raising=False)
    check_model_name(WITHOUT, name)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("gpt-5", "provider:model"),
        ("", "provider:model"),
        ("openai:", "provider:model"),
        (":gpt-5", "provider"),
        ("acme:gpt-5", "No provider is named 'acme'"),
        ("offline", "has no offline model"),
    ],
)
def test_names_nothing_can_be_made_of_are_refused_with_what_to_write(name: str, says: str) -> None:
    with pytest.raises(UnknownModel, match=says):
        check_model_name(WITHOUT, name)


def borrow(models: Models, agent: Agent, named: str | None = None) -> object:
    with models.borrow(agent, named) as model:
        return model


def test_the_jobs_choice_wins_over_the_settings_and_that_over_the_agents() -> None:
    elsewhere = {"model_base_url": "http://127.0.0.1:1/v1", "model_api_key": SecretStr("k")}
    by_setting = Models(Settings(model="openai:set", **elsewhere))  # type: ignore[arg-type]
    assert borrow(by_setting, WITH_OFFLINE).model_name == "set"  # type: ignore[attr-defined]
    assert borrow(by_setting, WITH_OFFLINE, "openai:job").model_name == "job"  # type: ignore[attr-defined]
    assert borrow(by_setting, WITH_OFFLINE, "offline") is OWN
    plain = Models(Settings(model="", **elsewhere))  # type: ignore[arg-type]
    assert borrow(plain, WITH_OFFLINE).model_name == "gpt-5-mini"  # type: ignore[attr-defined]
    assert borrow(plain, Agent("a", OWN, "")) is OWN


def test_a_model_is_made_once_so_that_its_connections_are_kept() -> None:
    models = Models(Settings(model_base_url="http://127.0.0.1:1/v1"))
    assert borrow(models, WITHOUT) is borrow(models, WITHOUT)
    made: list[int] = []

    def make() -> FunctionModel:
        made.append(1)
        return FunctionModel(follow_script)

    agent = Agent("counted", "offline", "", offline=make)
    assert borrow(models, agent) is borrow(models, agent)
    assert made == [1]


def test_an_unknown_name_in_the_settings_is_refused_when_it_is_used() -> None:
    with pytest.raises(UnknownModel):
        borrow(Models(Settings(model="gpt-5")), WITHOUT)
