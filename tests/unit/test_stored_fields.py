"""Value objects become rows and rows value objects, as their fields are declared."""

from __future__ import annotations

import pytest

from shared.domain.stored_fields import Codec, Fields, stored
from shared.domain.values import record


@record
class Sum:
    tokens: int = stored("tokens", int64=True, default=0)
    pusd: int = stored("pUSD", int64=True, default=0)


@record
class Account:
    """One field for each way to declare it."""

    name: str = stored("always written", always=True)
    note: str = stored("left out if empty", default="")
    used: Sum = stored("always written with all of its values", prefix="used_", always=True, default=Sum())
    granted: Sum = stored("left out if empty", prefix="granted_", default=Sum())
    moved: Sum = stored(
        "always written, but not by earlier versions", prefix="moved_", always=True, may_be_missing=True, default=Sum()
    )


CODEC = Codec(Account)
EMPTY: Fields = {"name": "", "used_tokens": 0, "used_pusd": 0, "moved_tokens": 0, "moved_pusd": 0}


def test_empty_values_are_written_only_where_they_are_always_written() -> None:
    assert CODEC.write(Account(name="")) == EMPTY
    whole = Account(name="a", note="n", used=Sum(tokens=1), granted=Sum(pusd=2), moved=Sum(tokens=-3, pusd=4))
    assert CODEC.write(whole) == {
        **EMPTY,
        "name": "a",
        "note": "n",
        "used_tokens": 1,
        "granted_pusd": 2,
        "moved_tokens": -3,
        "moved_pusd": 4,
    }
    assert CODEC.read(CODEC.write(whole)) == whole


@pytest.mark.parametrize("missing", ["name", "used_tokens", "used_pusd"])
def test_a_value_that_is_always_written_may_not_be_missing(missing: str) -> None:
    with pytest.raises(KeyError, match=missing):
        CODEC.read({name: value for name, value in EMPTY.items() if name != missing})


@pytest.mark.parametrize("missing", ["moved_tokens", "moved_pusd"])
def test_a_value_that_earlier_versions_did_not_write_reads_as_empty(missing: str) -> None:
    row = {name: value for name, value in EMPTY.items() if name != missing}
    assert CODEC.read(row) == Account(name="")


def test_the_declaration_of_a_whole_object_counts_for_each_of_its_values() -> None:
    assert {field.name: field.is_always_written for field in CODEC.fields} == {
        "name": True, "note": False, "used_tokens": True, "used_pusd": True, "granted_tokens": False,
        "granted_pusd": False, "moved_tokens": True, "moved_pusd": True,
    }  # fmt: skip
