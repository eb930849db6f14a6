"""The body of a request: parameters, tools and response formats, by model."""

from __future__ import annotations

import functools
import json
import warnings

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool

from langchain_aimlernie._request.payload import build_payload, encode_body
from langchain_aimlernie.errors import BadRequestError
from langchain_aimlernie.profiles import DEFAULT_MODEL, find_model

FIVE = "baidu/ernie-5.0"
SELF_HOSTED = "my-ernie"


@tool
def now() -> str:
    """Tell the time."""
    return "now"


def payload(settings=None, model=DEFAULT_MODEL, **options):
    spec, messages = find_model(model), [HumanMessage("hi")]

    def warn(_, message):
        warnings.warn(message, stacklevel=2)

    return build_payload(messages, spec, model, settings or {}, options, warn=warn)


def test_unset_parameters_are_not_sent():
    assert payload() == {"model": DEFAULT_MODEL, "messages": [{"role": "user", "content": "hi"}]}


def test_options_override_settings_and_none_unsets_them():
    settings = {"temperature": 0.5, "seed": 1, "top_p": 0.9, "stop": ["a"]}
    body = payload(settings, temperature=0, seed=None, stop=[])
    assert (body["temperature"], body["top_p"]) == (0, 0.9)
    assert not {"seed", "stop"} & set(body)
    assert payload(settings, stop="b")["stop"] == ["b"]


VALUES = {
    "temperature": (0, 2, 0.0, 1.5),
    "top_p": (0.01, 1),
    "frequency_penalty": (-2, 2, 0),
    "presence_penalty": (-2, 2, 0),
    "max_tokens": (1, 4096),
    "max_completion_tokens": (1,),
    "seed": (1, 2**31),
    "thinking_budget": (100,),
    "stop": (["a"], ["a"] * 4),
    "parallel_tool_calls": (True, False),
    "enable_thinking": (True, False),
}


@pytest.mark.parametrize("name", VALUES)
def test_parameters_are_sent(name):
    for value in VALUES[name]:
        assert payload(model=SELF_HOSTED, tools=[now], **{name: value})[name] == value
    assert name not in payload({name: None})


def test_unknown_options_are_sent_with_a_warning_and_internal_ones_are_not():
    with pytest.warns(UserWarning, match="top_k"):
        assert payload(top_k=5)["top_k"] == 5
    body = payload(ls_structured_output_format={}, structured_output_format={}, strict=True)
    assert set(body) == set(payload(n=1)) == {"model", "messages"}


def test_max_completion_tokens_has_the_name_that_the_model_takes():
    assert payload(max_completion_tokens=9)["max_completion_tokens"] == 9
    body = payload(model=FIVE, max_completion_tokens=9)
    assert (body["max_tokens"], body.get("max_completion_tokens")) == (9, None)


def test_the_options_of_tools_are_not_sent_without_any():
    without = payload(tools=[], tool_choice="auto", parallel_tool_calls=True)
    assert set(without) == {"model", "messages"}


def test_a_reasoning_model_may_be_forbidden_to_call():
    thinking = "baidu/ernie-4.5-21b-a3b-thinking"
    assert payload(model=thinking, tools=[now], tool_choice="none")["tool_choice"] == "none"
    with pytest.warns(UserWarning, match="cannot be forced"):
        assert payload(model=thinking, tools=[now], tool_choice=True)["tool_choice"] == "auto"


def test_the_body_is_utf8_without_escapes():
    data = encode_body({"a": "你好\u2028\x00"})
    assert "你好\u2028".encode() in data
    assert json.loads(data) == {"a": "你好\u2028\x00"}


CYCLE: dict = {}
CYCLE["self"] = CYCLE
DEEP = functools.reduce(lambda inner, _: [inner], range(100_000), [])


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (float("nan"), "JSON"),
        (float("inf"), "JSON"),
        ({1, 2}, "set is not JSON"),
        (b"bytes", "bytes is not JSON"),
        (CYCLE, "Circular"),
        (DEEP, "nested too deeply"),
        ("\ud83d", "half a surrogate pair"),
    ],
    ids=["nan", "inf", "set", "bytes", "cycle", "deep", "surrogate"],
)
def test_a_body_that_is_not_json_is_rejected(value, reason):
    with pytest.raises(BadRequestError, match=reason) as caught:
        encode_body({"a": value})
    assert caught.value.__context__ is None
