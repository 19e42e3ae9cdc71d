"""A model reasons unseen, and has a context window, by its name."""

from __future__ import annotations

import pytest

from shared.domain.inference.model_facts import context_window, hides_output, reasons


@pytest.mark.parametrize(
    "model",
    ["o1", "o3-mini", "o4-mini", "codex-mini", "gpt-5", "GPT-5-mini", "openai/o3", "gpt-5.1-chat", "gpt-6", "gpt-10"],
)
def test_these_models_reason(model: str) -> None:
    assert reasons(model)
    assert hides_output(model)


@pytest.mark.parametrize(
    "model", ["model-router", "grok-3-mini", "grok-4", "xai/Grok-4.7", "grok-code-fast-1", "computer-use-preview"]
)
def test_these_models_may_reason_unseen_and_take_the_usual_parameters(model: str) -> None:
    assert hides_output(model)
    assert not reasons(model)


@pytest.mark.parametrize(
    "model",
    [
        "gpt-4o",
        "gpt-4.1",
        "gpt-35-turbo",
        "gpt-5-chat",
        "gpt-50",
        "omni",
        "DeepSeek-R1",
        "grok-3",
        "grok-4-fast-non-reasoning",
    ],
)
def test_these_models_show_what_they_generate(model: str) -> None:
    assert not hides_output(model)


def test_a_model_that_is_not_listed_has_more_than_the_largest_context_window() -> None:
    assert context_window("gpt-4o-mini") < context_window("gpt-4.1-mini") < context_window("gpt-7")
