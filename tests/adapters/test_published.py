"""What is published of the prices of well-known models."""

from headway.adapters.published import edition, published
from headway.tracking.price_service import Upstream

OPENAI = "https://api.openai.com/v1"
ANTHROPIC = "https://api.anthropic.com"


def test_well_known_models_have_prices_at_their_own_providers_alone() -> None:
    there = Upstream(OPENAI, "gpt-4o")
    elsewhere = Upstream("http://127.0.0.1:11434/v1", "gpt-4o")
    unheard = Upstream(OPENAI, "no-such-model")
    sonnet = Upstream(ANTHROPIC, "claude-sonnet-4-5")

    found = published([there, elsewhere, unheard, sonnet])

    (dated,) = found[there]
    assert dated.since == 0
    # $2.50 in, $10 out, $1.25 cached, a million: as OpenAI has published it since October 2024.
    assert dated.rates.amounts() == {"input": 2_500_000, "output": 10_000_000, "cached": 1_250_000}
    # $3, $15, $0.30 and $3.75 for writes of five minutes: Anthropic's, since September 2025.
    assert found[sonnet][-1].rates.amounts() == {
        "input": 3_000_000,
        "output": 15_000_000,
        "cached": 300_000,
        "cache_write": 3_750_000,
    }
    assert found[elsewhere] == found[unheard] == ()


def test_the_edition_is_that_of_the_package() -> None:
    assert edition().startswith("genai-prices ")
