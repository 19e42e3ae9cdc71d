"""Usage is split into disjoint meters, and can be added."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shared.domain.pricing.usage import Usage, disjoint_usage


@given(*(st.integers(-5, 50) for _ in range(7)))
def test_meters_are_disjoint_for_any_usage_of_a_backend(
    prompt: int, completion: int, cached: int, written: int, audio_in: int, audio_out: int, reasoning: int
) -> None:
    usage = disjoint_usage(
        prompt=prompt,
        completion=completion,
        cached=cached,
        cache_write=written,
        audio_in=audio_in,
        audio_out=audio_out,
        reasoning=reasoning,
    )
    assert usage.total_tokens == max(0, prompt) + max(0, completion)
    assert min(*usage.buckets, usage.reasoning) >= 0


def test_usage_adds_and_subtracts() -> None:
    assert Usage(input=1, cached_input=2, cache_write=3, audio_input=4, output=5, audio_output=6, reasoning=7) + Usage(
        input=1
    ) - Usage(input=0, cached_input=2) == Usage(
        input=2, cached_input=0, cache_write=3, audio_input=4, output=5, audio_output=6, reasoning=7
    )
