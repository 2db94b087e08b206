"""What a call of a model costs, in dollars, and how much it can cost at most."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from autoresearch_plugin.errors import SettingsError

AS_OF = "2026-10-24"
SOURCE = "https://platform.claude.com/docs/en/about-claude/pricing"

CACHE_WRITE = 1.25  # times the input price, for entries that live five minutes
US_ONLY = 1.1  # times every price, when a workspace keeps inference in the US


@dataclass(frozen=True)
class Usage:
    """Tokens of one call, as the provider counts them."""

    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0

    @property
    def prompt_tokens(self) -> int:
        """All tokens that were read, from the cache or not."""
        return self.input_tokens + self.cache_read_tokens + self.cache_write_tokens


@dataclass(frozen=True)
class Price:
    """Dollars per million tokens.

    A prompt of more than `long_above` tokens costs `long_factor` times as much, all its
    tokens and those of the answer.
    """

    input: float
    output: float
    cache_read: float
    long_above: int = 0
    long_factor: float = 1.0

    def cost(self, usage: Usage, us_only: bool = False) -> float:
        """Dollars for `usage`."""
        tokens_times_price = (
            usage.input_tokens * self.input
            + usage.cache_write_tokens * self.input * CACHE_WRITE
            + usage.cache_read_tokens * self.cache_read
            + usage.output_tokens * self.output
        )
        if self.long_above and usage.prompt_tokens > self.long_above:
            tokens_times_price *= self.long_factor
        return tokens_times_price * (US_ONLY if us_only else 1.0) / 1e6

    def worst_case(self, prompt_bytes: int, max_tokens: int) -> float:
        """Dollars that a call cannot exceed.

        A token is at least one byte of the prompt, and writing it to the cache is the
        dearest way to read it.
        """
        usage = Usage(cache_write_tokens=prompt_bytes, output_tokens=max_tokens)
        return self.cost(usage, us_only=True)


_FABLE = Price(10, 50, 1.00)
_FABLE_5_1 = Price(10, 50, 0.25)
_OPUS = Price(5, 25, 0.50)
_SONNET_4 = Price(3, 15, 0.30)

PRICES: Mapping[str, Price] = {
    "claude-fable-5-1": _FABLE_5_1,
    "claude-mythos-5-1": _FABLE_5_1,
    "claude-fable-5": _FABLE,
    "claude-mythos-5": _FABLE,
    "claude-opus-5-5": Price(4, 20, 0.20),
    "claude-opus-5": _OPUS,
    "claude-opus-4-8": _OPUS,
    "claude-opus-4-7": _OPUS,
    "claude-opus-4-6": _OPUS,
    "claude-opus-4-5": _OPUS,
    "claude-sonnet-5-5": Price(2, 10, 0.10),
    "claude-sonnet-5": Price(2, 10, 0.20),
    "claude-sonnet-4-6": _SONNET_4,
    "claude-sonnet-4-5": _SONNET_4,
    "claude-haiku-5-5": Price(0.10, 0.50, 0.01, long_above=100_000, long_factor=5),
    "claude-haiku-4-5": Price(1, 5, 0.10),
}


def price_of(model: str, given: str | None = None) -> Price:
    """The price of `model`: the user's own `IN/OUT`, or the one in the table.

    Raises:
        SettingsError: `given` is no price, or the table does not know the model.
    """
    if given:
        return _parse(given)
    known = PRICES.get(model) or PRICES.get(re.sub(r"-\d{8}$", "", model))
    if known is None:
        raise SettingsError(
            f"no price is known for model {model!r} (table of {AS_OF}), so the "
            "spending cap could not be kept. Give its dollars per million tokens: "
            "--autoresearch-price IN/OUT, for example --autoresearch-price 2/10 "
            "(0/0 for a model of your own)."
        )
    return known


def _parse(given: str) -> Price:
    try:
        price_in, price_out = (float(part) for part in given.split("/"))
    except ValueError:
        price_in = math.nan
        price_out = math.nan
    if not (0 <= price_in < math.inf and 0 <= price_out < math.inf):
        raise SettingsError(
            f"--autoresearch-price {given!r} is not IN/OUT, two numbers in dollars per "
            "million tokens, for example 2/10."
        )
    # without a known discount a cached token counts in full: never too little
    return Price(price_in, price_out, cache_read=price_in)
