"""Estimates: what a model call may come to use at most, as far as one can tell before it is made.

Nobody counts tokens here: a token is hardly ever less than two bytes of UTF-8, so half the bytes of
what is sent bounds what goes in. What comes out is bounded by the agent's `output_tokens_max`, of
which the provider is told, or else by the settings of the model, or else by what is set aside.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from genai_prices import Usage, calc_price
from pydantic_ai.messages import ModelMessage, ModelMessagesTypeAdapter
from pydantic_ai.models import Model
from pydantic_core import to_json

from jobs.agent.agent import Agent
from jobs.settings import Settings
from store.budgets import Estimate

BYTES_PER_TOKEN_MIN = 2
MILLION = Decimal(1_000_000)


def estimate_call(
    agent: Agent, model: Model, transcript: Sequence[ModelMessage], settings: Settings
) -> tuple[Estimate, bool]:
    """What to set aside for the call, and whether its price is known.

    An unknown price is taken to be `unknown_price_usd_per_mtok`, which is above what is usual.
    """
    tokens_in = bound_input(agent, transcript)
    tokens_out = bound_output(agent, model, settings)
    usd = find_price(model, tokens_in, tokens_out)
    assumed = settings.unknown_price_usd_per_mtok * (tokens_in + tokens_out) / MILLION
    tokens = tokens_in + tokens_out
    return Estimate(tokens=tokens, usd=assumed if usd is None else usd), usd is not None


def bound_input(agent: Agent, transcript: Sequence[ModelMessage]) -> int:
    """More tokens than the transcript and the descriptions of the tools have."""
    definitions = [tool.definition for tool in agent.tools]
    if agent.answer_tool is not None:
        definitions.append(agent.answer_tool)
    shown = [[each.name, each.description, each.parameters_json_schema] for each in definitions]
    bytes_sent = len(ModelMessagesTypeAdapter.dump_json(list(transcript))) + len(to_json(shown))
    return -(-bytes_sent // BYTES_PER_TOKEN_MIN)


def bound_output(agent: Agent, model: Model, settings: Settings) -> int:
    """How many tokens the answer may have, as far as anybody has said."""
    told = (model.settings or {}).get("max_tokens")
    return agent.limits.output_tokens_max or told or settings.output_tokens_reserved


def find_price(model: Model, tokens_in: int, tokens_out: int) -> Decimal | None:
    """The price of so many tokens in dollars, by the bundled list; None when it is not there."""
    usage = Usage(input_tokens=tokens_in, output_tokens=tokens_out)
    try:
        return calc_price(usage, model.model_name, provider_id=model.system).total_price
    except (LookupError, ValueError, AssertionError):
        return None
