"""The memory for tokens that were verified."""

from __future__ import annotations

from shared.adapters.identity.verified_tokens import VerifiedTokens, digest_of
from tests.tools.known_tokens import application_claims, person_claims

ONE, TWO, THREE = map(digest_of, ("one", "two", "three"))
CLAIMS = application_claims()


def test_a_token_is_known_until_its_moment() -> None:
    verified = VerifiedTokens()
    verified.put(ONE, CLAIMS, until=10)
    assert verified.get(ONE, 9.9) is CLAIMS
    assert verified.get(ONE, 10) is None
    assert verified.get(ONE, 0) is None


def test_the_token_that_was_not_used_for_the_longest_time_goes_first() -> None:
    verified = VerifiedTokens(max_weight=20)
    verified.put(ONE, CLAIMS, until=10)
    verified.put(TWO, CLAIMS, until=10)
    verified.get(ONE, 1)
    verified.put(THREE, CLAIMS, until=10)
    assert [verified.get(each, 1) is not None for each in (ONE, TWO, THREE)] == [True, False, True]


def test_a_token_with_many_groups_takes_the_place_of_many() -> None:
    verified = VerifiedTokens(max_weight=100)
    for each in (ONE, TWO):
        verified.put(each, CLAIMS, until=10)
    verified.put(THREE, person_claims(groups=frozenset(map(str, range(85)))), until=10)
    assert [verified.get(each, 1) is not None for each in (ONE, TWO, THREE)] == [False, False, True]


def test_a_token_that_is_put_again_counts_once() -> None:
    verified = VerifiedTokens(max_weight=20)
    for _ in range(5):
        verified.put(ONE, CLAIMS, until=10)
    verified.put(TWO, CLAIMS, until=10)
    assert verified.get(ONE, 1) is CLAIMS
    verified.clear()
    assert verified.get(ONE, 1) is None


def test_any_text_has_a_digest() -> None:
    assert len({digest_of(text) for text in ("", "a", "\u00e9", "\ud800")}) == 4
