"""What a call cost, by the prices that come with the package genai-prices: no network, so they are as old as it is."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

MICROUSD: Final = 1_000_000


def cost_microusd(
    address: str, models: tuple[str, ...], input_tokens: int, output_tokens: int, cached_tokens: int
) -> int | None:
    """The cost of a call, in millionths of a US dollar; None: the prices of this model, or endpoint, are not known.

    Args:
        address: URL of the endpoint: the same model has another price elsewhere, and none on one's own machine.
        models: names of the model, the first whose price is known counts: a deployment's name tells nothing.
        input_tokens: of the request, those among them that the provider had cached included.
    """
    from genai_prices import Usage, calc_price  # noqa: PLC0415  takes a quarter of a second

    usage = Usage(input_tokens=input_tokens, output_tokens=output_tokens, cache_read_tokens=cached_tokens)
    for model in models:
        with suppress(LookupError):
            return round(calc_price(usage, model, provider_api_url=address).total_price * MICROUSD)
    return None
