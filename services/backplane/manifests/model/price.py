"""The price of an attempt."""

from __future__ import annotations

from pydantic import Field, model_validator

from backplane.manifests.model.part import Part


class Price(Part):
    """The price of an attempt. A provider without a price is unpriced, which is not free."""

    id: str = ""
    """Names the price list; frozen into every attempt's fact."""
    genai_prices: str = ""
    """A provider of the package genai-prices ("openai", "anthropic", "google"). Tokens are priced by its list for the
    model that answered; the fact names that list's version and model. A model it does not know is unpriced."""
    per_call_nano_usd: int = Field(default=0, ge=0)
    per_input_token_nano_usd: int = Field(default=0, ge=0)
    per_output_token_nano_usd: int = Field(default=0, ge=0)
    per_cached_token_nano_usd: int | None = Field(default=None, ge=0)
    """Of the input tokens that were read from a cache; without it they cost what the others do."""
    per_cache_write_token_nano_usd: int | None = Field(default=None, ge=0)
    """Of the input tokens that were written to a cache; without it they cost what the others do."""
    per_input_audio_token_nano_usd: int | None = Field(default=None, ge=0)
    """Of the input tokens that are sound; without it they cost what the others do."""
    per_output_audio_token_nano_usd: int | None = Field(default=None, ge=0)
    """Of the output tokens that are sound; without it they cost what the others do."""
    per_cpu_second_nano_usd: int = Field(default=0, ge=0)
    per_image_nano_usd: int = Field(default=0, ge=0)
    per_second_nano_usd: int = Field(default=0, ge=0)
    """Of what was made: video, sound."""
    per_gigabyte_nano_usd: int = Field(default=0, ge=0)
    """Bytes stored or sent are billed by far less than a nano-USD each: 1 GB is 10^9 of them."""
    max_input_tokens: int | None = Field(default=None, ge=0)
    """That one attempt can read; without it a price per token has no upper bound, and a call with a budget cannot pay
    it."""
    max_output_tokens: int | None = Field(default=None, ge=0)
    usage_at_most: str = Field(default="", pattern=r"^([A-Za-z_][\w.]*:[A-Za-z_]\w*)?$")
    """``package.module:function``: what one attempt may use up, by its params: ``(params) -> Usage``. No more processor
    time is charged than it says. Without one the tokens of the actual request are counted."""
    model: str = ""
    """Of genai_prices: the model that is asked, where the provider's config does not name it as ``model``."""
    at_most_nano_usd: int | None = Field(default=None, ge=0)
    """The highest cost of one attempt, where the bounds above do not say or say too much."""
    charge_failures: bool = False
    """Whether an attempt that failed costs its per-call price; measured usage is always charged."""

    @model_validator(mode="after")
    def _has_one_source(self) -> Price:
        if bool(self.id) == bool(self.genai_prices):
            raise ValueError("a price has either an id or a genai_prices provider")
        if self.genai_prices and (self.per_input_token_nano_usd or self.per_output_token_nano_usd):
            raise ValueError("tokens are priced by genai_prices here; remove the prices per token")
        return self
