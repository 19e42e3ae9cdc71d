"""A usage is cut to what one request can use, in every meter."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shared.domain.pricing.usage import METERS, NOTHING_USED, Usage, limited

NUMBERS = st.integers(0, 10**20)
USAGES = st.builds(Usage, **{meter.value: NUMBERS for meter in METERS})


@given(USAGES, NUMBERS, NUMBERS)
def test_no_limit_is_exceeded_and_nothing_is_added(usage: Usage, most_input: int, most_output: int) -> None:
    held = Usage(images=3, audio_seconds=5)
    cut = limited(usage, most_input, most_output, held)
    assert cut.input_tokens == min(usage.input_tokens, most_input)
    assert cut.output_tokens == min(usage.output_tokens, most_output)
    assert cut.images <= 24
    assert cut.audio_seconds <= 40
    assert all(after <= before for after, before in zip(cut.buckets, usage.buckets, strict=True))
    assert cut.reasoning <= cut.output


def test_a_usage_within_its_limits_is_returned_itself() -> None:
    usage = Usage(input=3, output=4, reasoning=2)
    assert limited(usage, 3, 4, NOTHING_USED) is usage
