"""What an attempt costs."""

from __future__ import annotations

from pydantic import Field

from services.capabilities.model.part import Part


class Price(Part):
    """What an attempt costs. A provider without a price is unpriced, which is not free."""

    id: str = Field(min_length=1)
    """Names the price list; frozen into every attempt's fact."""
    per_call_nano_usd: int = Field(default=0, ge=0)
    per_input_token_nano_usd: int = Field(default=0, ge=0)
    per_output_token_nano_usd: int = Field(default=0, ge=0)
    per_cpu_second_nano_usd: int = Field(default=0, ge=0)
    charge_failures: bool = False
    """Whether an attempt that failed costs its per-call price; measured usage is always charged."""
