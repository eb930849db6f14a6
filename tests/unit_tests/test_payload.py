"""The body of a request: parameters, tools and response formats, by model."""

from __future__ import annotations

import warnings

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool

from langchain_aimlernie._request.payload import build_payload
from langchain_aimlernie.profiles import DEFAULT_MODEL, find_model


@tool
def now() -> str:
    """Tell the time."""
    return "now"


def payload(settings=None, model=DEFAULT_MODEL, **options):
    spec, messages = find_model(model), [HumanMessage("hi")]

    def warn(_, message):
        warnings.warn(message, stacklevel=2)

    return build_payload(messages, spec, model, settings or {}, options, warn=warn)


def test_options_override_settings_and_none_unsets_them():
    settings = {"temperature": 0.5, "seed": 1, "top_p": 0.9, "stop": ["a"]}
    body = payload(settings, temperature=0, seed=None, stop=[])
    assert (body["temperature"], body["top_p"]) == (0, 0.9)
    assert not {"seed", "stop"} & set(body)
    assert payload(settings, stop="b")["stop"] == ["b"]


def test_unknown_options_are_sent_with_a_warning_and_internal_ones_are_not():
    with pytest.warns(UserWarning, match="top_k"):
        assert payload(top_k=5)["top_k"] == 5
    body = payload(ls_structured_output_format={}, structured_output_format={}, strict=True)
    assert set(body) == set(payload(n=1)) == {"model", "messages"}


def test_the_options_of_tools_are_not_sent_without_any():
    without = payload(tools=[], tool_choice="auto", parallel_tool_calls=True)
    assert set(without) == {"model", "messages"}


def test_a_reasoning_model_may_be_forbidden_to_call():
    thinking = "baidu/ernie-4.5-21b-a3b-thinking"
    assert payload(model=thinking, tools=[now], tool_choice="none")["tool_choice"] == "none"
    with pytest.warns(UserWarning, match="cannot be forced"):
        assert payload(model=thinking, tools=[now], tool_choice=True)["tool_choice"] == "auto"
