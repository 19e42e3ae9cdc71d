"""Value objects: built by keyword, compared and hashed by their fields, never changed."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import pytest

from shared.domain.values import fact


@fact
class Sample:
    """A fact."""

    name: str
    secret: str = dataclasses.field(default="s", repr=False)
    tags: dict[str, str] = dataclasses.field(default_factory=dict, hash=False)
    size: int = 1

    @property
    def doubled(self) -> int:
        return 2 * self.size


def test_a_fact_is_built_by_keyword_only() -> None:
    with pytest.raises(TypeError):
        Sample("a")  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Sample(size=2)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Sample(name="a", length=2)  # type: ignore[call-arg]
    assert Sample(name="a", size=2).doubled == 4


def test_a_fact_cannot_be_changed() -> None:
    sample = Sample(name="a")
    with pytest.raises(AttributeError):
        sample.name = "b"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        sample.other = "b"  # type: ignore[attr-defined]
    assert sample.name == "a"


def test_facts_are_equal_and_hash_by_their_fields() -> None:
    assert Sample(name="a", size=2) == Sample(size=2, name="a")
    assert hash(Sample(name="a")) == hash(Sample(name="a"))
    assert Sample(name="a") != Sample(name="b")


def test_the_default_of_each_fact_is_its_own() -> None:
    assert Sample(name="a").tags is not Sample(name="a").tags


def test_a_hidden_field_is_not_shown() -> None:
    assert repr(Sample(name="a")) == "Sample(name='a', tags={}, size=1)"


def test_a_fact_is_copied_and_pickled() -> None:
    sample = Sample(name="a", tags={"b": "c"})
    assert dataclasses.replace(sample, size=3) == Sample(name="a", tags={"b": "c"}, size=3)
    assert dataclasses.asdict(sample) == {"name": "a", "secret": "s", "tags": {"b": "c"}, "size": 1}
    assert copy.copy(sample) == pickle.loads(pickle.dumps(sample)) == sample


def test_a_base_class_is_refused_because_it_would_be_lost() -> None:
    with pytest.raises(TypeError, match="The fact Derived must not have a base class"):

        @fact
        class Derived(Sample):
            """It would lose the members of its base."""
