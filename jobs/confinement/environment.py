"""What the child process of a tool may know of our environment: all but the keys to our own doors.

A tool needs what its author has set for it (an address, a key of the service it calls), so the
environment is handed on. Taken out is what only the worker is for: Postgres, Redis, our API, and
the model providers. Keys of AWS and GitHub stay, since they open more than models.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

OUR_DOORS = re.compile(
    r"STEPWELL_(\w*DATABASE_URL|REDIS_URL|API_TOKEN|MODEL_API_KEY)|PG(PASSWORD|PASSFILE|SERVICEFILE)"
)
# The names that the clients of model providers read by themselves. A test holds them against the
# provider library that is installed.
MODEL_VENDORS = """
    ALIBABA ANTHROPIC AZURE_OPENAI AZURE_VOICELIVE CEREBRAS CO CRUSOE DASHSCOPE DEEPSEEK ELEVENLABS
    FIREWORKS GEMINI GITHUB GITHUB_COPILOT GOOGLE GROQ META MISTRAL MOONSHOTAI NEBIUS OLLAMA OPENAI
    OPENROUTER OVHCLOUD PAIG PYDANTIC_AI_GATEWAY SAMBANOVA SYSTEM_ONE TOGETHER TYPESAFE
    VERCEL_AI_GATEWAY VLLM VOYAGE XAI ZAI
"""
MODEL_KEYS = frozenset(
    (
        *(f"{vendor}_API_KEY" for vendor in MODEL_VENDORS.split()),
        "AWS_BEARER_TOKEN_BEDROCK",
        "COPILOT_GITHUB_TOKEN",
        "GITHUB_COPILOT_API_TOKEN",
        "HEROKU_INFERENCE_KEY",
        "HF_TOKEN",
        "SNOWFLAKE_TOKEN",
        "VERCEL_OIDC_TOKEN",
    )
)


def without_our_keys(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment for a tool in a child process.

    One memory arena instead of one a thread: each reserves address space, which is what is bounded.
    """
    kept = {
        name: value
        for name, value in environment.items()
        if name not in MODEL_KEYS and not OUR_DOORS.fullmatch(name)
    }
    return {"MALLOC_ARENA_MAX": "1", **kept}
