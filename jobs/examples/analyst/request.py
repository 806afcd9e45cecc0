"""What the analyst is asked for, and what it answers: the typed edges of the job."""

from __future__ import annotations

from uuid import UUID

from pydantic import BaseModel, ConfigDict, EmailStr, Field, field_validator

ASK_CHARS_MAX = 4_000


class Request(BaseModel):
    """One question about one uploaded file, and perhaps an address to mail the answer to."""

    model_config = ConfigDict(extra="forbid")

    ask: str = Field(
        default="Analyze this dataset and report what stands out.",
        min_length=1,
        max_length=ASK_CHARS_MAX,
        description="The question in plain words.",
    )
    dataset: UUID = Field(description="The artifact id of the uploaded file.")
    email: EmailStr | None = Field(
        default=None, description="Where to mail the report; without it nothing is mailed."
    )

    @field_validator("email", mode="before")
    @classmethod
    def _address_is_one_clean_line(cls, value: object) -> object:
        """A line break in an address could smuggle in a second header, so it is refused."""
        if isinstance(value, str) and any(not sign.isprintable() for sign in value):
            raise ValueError("must be one address without line breaks or control characters")
        return value

    @field_validator("ask")
    @classmethod
    def _ask_says_something(cls, value: str) -> str:
        cleaned = "".join(sign if sign.isprintable() or sign in "\n\t" else " " for sign in value)
        if not cleaned.strip():
            raise ValueError("must be a question in words, not only white space")
        return cleaned.strip()


class Analysis(BaseModel):
    """What the analyst found, in words a person can act on."""

    title: str = Field(description="The title of the report.")
    headline: str = Field(description="The answer in one sentence.")
    findings: list[str] = Field(
        default_factory=list,
        description="The findings, one sentence each, with figures taken from query results.",
    )
    report: UUID | None = Field(
        default=None, description="The artifact id that write_report returned."
    )
    mailed_to: list[str] = Field(
        default_factory=list, description="The addresses send_email reported, else empty."
    )
    confidence: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Leave out: it is the share of the figures that stand in a query result.",
    )
    rows: int = Field(default=0, ge=0, description="How many rows the table has.")
