"""The model as a function of a transcript: the one file that knows how pydantic-ai is called.

Every client runs without retries of its own; the step owns them. Real providers are streamed, so
that a first token that does not come can be told from an answer that takes long. Both have a limit,
which the settings, the agent and the job's deadline bound from above, and what the provider usually
takes, as far as its gate has learned it, brings down.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from threading import Lock
from time import perf_counter
from typing import Any

import structlog
from httpx2 import AsyncClient, Limits, Timeout
from pydantic_ai import direct
from pydantic_ai.messages import ModelMessage, ModelMessagesTypeAdapter, ModelResponse
from pydantic_ai.models import (
    Model,
    ModelRequestParameters,
    create_async_httpx2_client,
    infer_model,
)
from pydantic_ai.models.function import FunctionModel
from pydantic_ai.providers import Provider, infer_provider, infer_provider_class
from pydantic_ai.settings import ModelSettings

from jobs.agent.agent import Agent
from jobs.agent.tool import Tool
from jobs.errors import UnknownModel
from jobs.settings import Settings
from store.transitions import Usage

log = structlog.get_logger(__name__)

OFFLINE = "offline"
OPENAI_NAMES = ("openai", "openai-chat", "openai-responses")
# What runs in this process has nobody to be spared.
HERE = ("function", "test")
CONNECT_TIMEOUT_S = 20.0
# Limits that were learned are never below these: an answer may be longer than usual.
FIRST_TOKEN_MIN_S, TOTAL_MIN_S = 2.0, 10.0
CALLS_PER_CLIENT = 128


@dataclass(frozen=True, slots=True)
class Said:
    """What a model answered, and what that took; a call that is not streamed has no first token."""

    response: ModelResponse
    usage: Usage
    first_s: float | None = None


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a call may take, in seconds: until its first token, and altogether."""

    first_token_s: float
    total_s: float


def check_model_name(agent: Agent, name: str) -> None:
    """Raise `UnknownModel` unless a model could be made of this name. Needs no key."""
    if name == OFFLINE:
        if agent.offline is None:
            raise UnknownModel(f"Agent {agent.name!r} has no offline model.")
        return
    provider, colon, model = name.partition(":")
    if not colon or not model:
        raise UnknownModel(
            f"{name!r} is not a model name. Write provider:model, such as openai:gpt-5-mini or "
            f"anthropic:claude-haiku-4-5, or {OFFLINE}."
        )
    try:
        infer_provider_class(provider)
    except ValueError:
        raise UnknownModel(f"No provider is named {provider!r} (in {name!r}).") from None
    except ImportError:
        raise UnknownModel(f"The client library of {provider!r} is not installed.") from None


@dataclass(slots=True)
class _Lent:
    """A model with a client of its own, and how many calls use it now."""

    model: Model
    calls: int = 0


def dependency_of_model(name: str) -> str | None:
    """The provider that a model of this name is called at; None for what runs here."""
    provider = name.partition(":")[0]
    if provider == OFFLINE:
        return None
    return "openai" if provider in OPENAI_NAMES else provider


class Models:
    """The models of one process by name, each made once and kept with its connections.

    A client's connection pool looks at every connection it has for each request, so a thousand
    calls through one client cost more than through several: another is made when all are busy.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._made: dict[str, list[_Lent]] = {}
        self._lending = Lock()
        # Made on first use otherwise, by every one of a thousand threads that meet there.
        ModelMessagesTypeAdapter.rebuild()

    @contextmanager
    def borrow(self, agent: Agent, named_by_job: str | None) -> Iterator[Model]:
        """The model for one call of this agent: the job's choice, else the setting's, else the
        agent's own. Raises `UnknownModel`, or what the provider says when it lacks a key."""
        chosen = self._choose(agent, named_by_job)
        if isinstance(chosen, Model):
            yield chosen
            return
        with self._lending:
            lent = self._find(agent, chosen)
            lent.calls += 1
        try:
            yield lent.model
        finally:
            with self._lending:
                lent.calls -= 1

    def prepare(self, agents: Iterable[Agent]) -> None:
        """Load what their calls need, which takes a while, before the first call waits for it."""
        for agent in agents:
            chosen = self._choose(agent, None)
            if isinstance(chosen, Model) or chosen == OFFLINE:
                continue
            try:
                with self._lending:
                    self._find(agent, chosen)
            except Exception as error:  # noqa: BLE001 - whatever it lacks, who calls is told
                log.warning("model.unready", agent=agent.name, error=type(error).__name__)

    def dependency_of(self, agent: Agent, named_by_job: str | None) -> str | None:
        """The provider that such a call is made to; None when the model runs here."""
        chosen = self._choose(agent, named_by_job)
        if isinstance(chosen, str):
            return dependency_of_model(chosen)
        return None if chosen.system in HERE else chosen.system

    def _choose(self, agent: Agent, named_by_job: str | None) -> str | Model:
        return named_by_job or self._settings.model or agent.model

    def _find(self, agent: Agent, name: str) -> _Lent:
        """The first client that is not busy, so that few calls share few connections."""
        is_offline = name == OFFLINE
        made = self._made.setdefault(f"{OFFLINE}/{agent.name}" if is_offline else name, [])
        for lent in made:
            if is_offline or lent.calls < CALLS_PER_CLIENT:
                return lent
        check_model_name(agent, name)
        made.append(_Lent(_offline_of(agent) if is_offline else self._make(name)))
        return made[-1]

    def _make(self, name: str) -> Model:
        provider, _, model = name.partition(":")
        if provider in OPENAI_NAMES and self._settings.model_base_url:
            # Every compatible server speaks chat; few speak the newer tongue of the same name.
            name = f"openai-chat:{model}"
        try:
            return infer_model(name, self._provide)
        except (ValueError, ImportError):
            raise UnknownModel(f"No model can be made of {name!r}.") from None

    def _provide(self, name: str) -> Provider[Any]:
        """The provider of that name, whose client tries once: what comes after is decided here."""
        provider = self._find_provider(name)
        if hasattr(provider.client, "max_retries"):
            provider.client.max_retries = 0
        return provider

    def _find_provider(self, name: str) -> Provider[Any]:
        """Those we test against get a client that fits a worker."""
        if name in OPENAI_NAMES:
            from pydantic_ai.providers.openai import OpenAIProvider

            base_url = self._settings.model_base_url
            if not base_url:
                return OpenAIProvider(http_client=create_client())
            key = self._settings.model_api_key.get_secret_value() or "none"
            return OpenAIProvider(base_url=base_url, api_key=key, http_client=create_client())
        if name == "anthropic":
            from pydantic_ai.providers.anthropic import AnthropicProvider

            return AnthropicProvider(http_client=create_client())
        return infer_provider(name)


def _offline_of(agent: Agent) -> Model:
    made = agent.offline() if callable(agent.offline) else agent.offline
    if not isinstance(made, Model):
        raise UnknownModel(f"The offline model of agent {agent.name!r} is not a pydantic-ai model.")
    return made


def create_client() -> AsyncClient:
    """A client for as many calls at once as the worker has slots.

    A second limit in its pool would only be another queue, with a timeout of its own. How long a
    call may take is decided around it, not in here; what is left is to notice a dead address, with
    patience for a moment in which a thousand calls begin at once.
    """
    return create_async_httpx2_client(
        timeout=Timeout(None, connect=CONNECT_TIMEOUT_S),
        limits=Limits(max_connections=None, max_keepalive_connections=None),
    )


def patience_with(
    agent: Agent,
    settings: Settings,
    *,
    first_token_s: float | None = None,
    total_s: float | None = None,
    left_s: float | None = None,
) -> Patience:
    """How long to wait for this agent's model, by the limits that are set and those learned.

    `left_s` are the seconds until the job's deadline.
    """
    bounds = [agent.limits.model_timeout_s or settings.model_timeout_s]
    if total_s is not None:
        bounds.append(max(TOTAL_MIN_S, total_s))
    if left_s is not None:
        bounds.append(max(0.001, left_s))
    firsts = [settings.model_first_token_timeout_s, *bounds]
    if first_token_s is not None:
        firsts.append(max(FIRST_TOKEN_MIN_S, first_token_s))
    return Patience(min(firsts), min(bounds))


async def ask(
    model: Model,
    agent: Agent,
    transcript: Sequence[ModelMessage],
    settings: Settings,
    patience: Patience | None = None,
    tools: Sequence[Tool] | None = None,
) -> Said:
    """One model call, with these tools offered, or all of the agent's.

    Raises pydantic-ai's typed errors as they are.
    """
    patience = patience or patience_with(agent, settings)
    first_s = None
    parameters = ModelRequestParameters(
        function_tools=[tool.definition for tool in (agent.tools if tools is None else tools)],
        output_mode="text" if agent.answer_tool is None else "tool",
        output_tools=[] if agent.answer_tool is None else [agent.answer_tool],
        allow_text_output=agent.answer_tool is None,
    )
    if isinstance(model, FunctionModel) and model.stream_function is None:
        response = await direct.model_request(
            model, transcript, model_request_parameters=parameters
        )
    else:
        limits = ModelSettings(
            request_timeout=patience.total_s, first_event_timeout=patience.first_token_s
        )
        if agent.limits.output_tokens_max is not None:
            limits["max_tokens"] = agent.limits.output_tokens_max
        if not _never_retries(model):
            limits["max_retries"] = 0
        began = perf_counter()
        async with direct.model_request_stream(
            model, transcript, model_settings=limits, model_request_parameters=parameters
        ) as stream:
            async for _ in stream:
                if first_s is None:
                    first_s = perf_counter() - began
            response = stream.get()
    return Said(response, _usage_of(response, model), first_s)


def _never_retries(model: Model) -> bool:
    """Whether its client was made that way: telling it so for one call makes a copy of it."""
    return getattr(getattr(model, "client", None), "max_retries", None) == 0


def _usage_of(response: ModelResponse, model: Model) -> Usage:
    return Usage(
        model=f"{model.system}:{response.model_name or model.model_name}",
        requests=1,
        input_tokens=response.usage.input_tokens,
        output_tokens=response.usage.output_tokens,
        cost_usd=_cost_of(response),
    )


def _cost_of(response: ModelResponse) -> str | None:
    """The price by the bundled list, or None where the list does not know the model."""
    try:
        total: Decimal = response.cost().total_price
    except (LookupError, ValueError, AssertionError):
        return None
    return str(total)
