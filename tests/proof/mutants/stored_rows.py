"""Faults in the codec of stored rows."""

from __future__ import annotations

from tests.proof.mutation.mutant import mutants_of
from tests.proof.mutation.operators import argument, assigned, condition, without_operand

_FIELDS = "shared.domain.stored_fields"
_TESTS = "unit/test_stored_fields.py"

MUTANTS = [
    *mutants_of(
        f"{_FIELDS}:Codec.write",
        _TESTS,
        {"an empty value is written although it may be left out": condition("plain", True)},
    ),
    *mutants_of(
        f"{_FIELDS}:_leaves",
        _TESTS,
        {"an empty value that is always written is left out": assigned("is_always", "False")},
    ),
    *mutants_of(
        f"{_FIELDS}:_reader", _TESTS, {"a required value that is missing reads as empty": condition("required", False)}
    ),
    *mutants_of(
        f"{_FIELDS}:_readers",
        _TESTS,
        {
            "a value that earlier versions did not write is required": without_operand("declared.may_be_missing"),
            "the values of a required object may be missing": argument("_readers", "required", "False"),
            "the prefix of an object is ignored when it is read": without_operand("declared.prefix"),
        },
    ),
    *mutants_of(
        f"{_FIELDS}:_leaves",
        _TESTS,
        {"the empty values of an object that is always written are left out": argument("_leaves", "always", "False")},
    ),
]
