"""Faults in the classification of answers, which decides what is booked and where a request goes next."""

from __future__ import annotations

from tests.proof.mutation.mutant import mutants_of
from tests.proof.mutation.operators import assigned, condition, replaced, without_operand

_ANSWER = "shared.domain.routing.answer"
_TESTS = "unit/routing/test_answer.py"

MUTANTS = [
    *mutants_of(
        f"{_ANSWER}:_classify_refusal_for_now",
        _TESTS,
        {
            "a 503 without retry-after is a throttle": assigned("is_throttled", "True"),
            "a 429 without retry-after is a failure": without_operand("status"),
        },
    ),
    *mutants_of(
        f"{_ANSWER}:_classify_404",
        _TESTS,
        {
            "a 404 is judged without its body": replaced("Meaning.UNDECIDED", "Meaning.CALLER_ERROR"),
            "a missing deployment is the caller's error": condition("_NO_SUCH_DEPLOYMENT", False),
            "an unknown path is the caller's error": without_operand("_NO_SUCH_PATH"),
            "a 404 without an error object is the caller's error": without_operand("b'\"error\"'"),
            "an unknown api-version is the operator's error": condition("caller_version", False),
        },
    ),
    *mutants_of(
        f"{_ANSWER}:retry_after",
        "unit/routing/test_dispatch.py",
        {
            "milliseconds of retry-after are read as seconds": replaced("1000", "1"),
        },
    ),
]
