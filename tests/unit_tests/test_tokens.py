"""Offline token estimates: near the billed numbers, realistic for Chinese, never an error."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.messages.utils import count_tokens_approximately

from langchain_aimlernie._request.tokens import count_message_tokens, count_tokens

CHINESE = "今天的天气很好我们一起去公园散步看看春天的花然后回家吃饭"
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}}
FUNCTION = {"name": "get_weather", "description": "Get the weather in a city."}
TOOL = {"type": "function", "function": {**FUNCTION, "parameters": PARAMETERS}}
# Completions of ERNIE on the provider's reference pages, by their `completion_tokens`.
BILLED = {
    46: "Of course! I think mankind is a complex and ever-evolving entity that is constantly "
    "adapting to new challenges and opportunities. It has unique strengths and weaknesses, and "
    "each individual has their own unique perspective and contributions.",
    99: "Hello! That's a big and fascinating question. Humanity is incredibly diverse, creative, "
    "and resilient. We have an amazing ability to innovate, solve problems, and build complex "
    "societies. At the same time, we also grapple with conflicts, inequalities, and challenges "
    "like climate change.\n\nOur history is a mix of great achievements and painful mistakes, "
    "but overall, there's a lot of potential for growth, understanding, and positive change. What "
    "aspects of mankind interest you the most?",
}
CALL = {"name": "get_weather", "args": {"city": "Paris"}, "id": "call_1"}
BROKEN = {"name": "get_weather", "args": '{"city": ', "id": "call_1", "error": None}


def prompt_tokens(*messages, **kwargs):
    return count_message_tokens(messages, **kwargs)


def tokens_of(*content):
    return prompt_tokens(HumanMessage(list(content)))


def test_an_estimate_is_near_the_billed_number():
    for billed, text in BILLED.items():
        assert billed <= count_tokens(text) <= billed * 1.15
    # For this prompt, ERNIE 4.5 21B bills 16, the models of the Turbo and X1 families 13.
    assert 13 <= prompt_tokens(HumanMessage("Hi! What do you think about mankind?")) <= 17


def test_chinese_has_its_own_rate():
    text = CHINESE * 100
    assert 0.6 * len(text) <= count_tokens(text) <= 0.9 * len(text)
    assert count_tokens(text) > 2 * count_tokens_approximately([HumanMessage(text)])


def test_every_kind_of_character_counts():
    for text, at_least, at_most in (
        *(("", 0, 0), (" ", 0, 1), ("a", 1, 1), ("3.14159", 5, 7), ("internationalization", 2, 4)),
        *(("getWeatherForCity", 4, 5), ("MAX_RETRY_COUNT", 4, 8), ("привет", 2, 6)),
        ("def f(x):\n    return x + 1\n", 10, 15),
        ('{"city": "Paris", "days": [1, 2, 3]}', 14, 24),
        *(("你好，世界！", 5, 8), ("ERNIE是文心大模型", 6, 9), ("Größe überprüfen", 4, 9)),  # noqa: RUF001
        *(
            ("こんにちは", 3, 5),
            ("안녕하세요", 3, 5),
            ("👍", 1, 4),
            ("👨‍👩‍👧", 5, 12),
            ("𠀀", 1, 4),
        ),
        *(("\x00\x1b\x7f", 1, 3), ("\ud800", 1, 3), ("\u2028", 1, 3)),
    ):
        assert at_least <= count_tokens(text) <= at_most, text
    for character in "aA0.\n 文ж😀\u0e01":
        assert count_tokens(character * 200_000) >= 20_000, character


@pytest.mark.slow
@settings(max_examples=50)
@given(st.text(), st.text())
def test_any_text_has_a_count_and_more_text_has_no_less(text, more):
    assert 0 <= count_tokens(text) <= 4 * len(text)
    assert count_tokens(text + " " + more) + 2 >= count_tokens(text)


def test_each_part_of_a_conversation_adds_to_the_count():
    messages = [
        SystemMessage("Be brief."),
        HumanMessage("Weather?", name="Ada"),
        AIMessage("", tool_calls=[CALL]),
        ToolMessage("18 degrees", tool_call_id="call_1"),
        AIMessage("It is 18 degrees."),
    ]
    counts = [prompt_tokens(*messages[:end]) for end in range(len(messages) + 1)]
    assert counts == sorted(set(counts))
    assert prompt_tokens(*messages, tools=[TOOL]) >= counts[-1] + 20
    assert prompt_tokens(HumanMessage("Hi", name="Grace")) > prompt_tokens(HumanMessage("Hi"))
    assert prompt_tokens(AIMessage("", invalid_tool_calls=[BROKEN])) > prompt_tokens(AIMessage(""))


def test_text_counts_the_same_in_every_form():
    text = "How are you?"
    blocks = [{"type": kind, "text": text} for kind in ("text", "input_text")]
    for block in (text, *blocks, {"type": "refusal", "refusal": text}):
        assert tokens_of(block) == prompt_tokens(HumanMessage(text))


def test_what_is_not_sent_is_not_counted():
    thought = "Let me think. " * 100
    message = AIMessage(
        [
            {"type": "reasoning", "reasoning": thought},
            {"type": "thinking", "thinking": thought, "signature": "abc"},
            {"type": "text", "text": "Fine."},
            {"type": "tool_use", "name": "get_weather", "input": CALL["args"], "id": "call_1"},
            {"type": "tool_call", **CALL},
        ],
        additional_kwargs={"reasoning_content": thought},
        tool_calls=[CALL],
    )
    assert prompt_tokens(message) == prompt_tokens(AIMessage("Fine.", tool_calls=[CALL]))

    data = ToolMessage([{"reasoning": "why " * 100}], tool_call_id="call_1")  # no block of a model
    assert prompt_tokens(data) > 100


LONG = "A" * 100_000


def test_an_image_counts_by_its_pixels_not_by_its_text():
    for block in (
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{LONG}"}},
        {"type": "image_url", "image_url": "https://example.org/cat.png"},
        {"type": "image", "base64": LONG, "mime_type": "image/png"},
        {"type": "image", "source": {"type": "base64", "data": LONG}},
        {"type": "media", "mime_type": "image/png", "data": LONG},
        {"image": {"format": "png", "source": {"bytes": b"A" * 100_000}}},
        {"type": "non_standard", "value": {"type": "input_image", "image_url": f"data:,{LONG}"}},
        {"type": "tool_result", "content": [{"type": "image", "base64": LONG}]},
    ):
        assert 1_000 <= tokens_of(block) <= 2_000


def test_a_file_counts_by_its_size():
    def file(size):
        data = "data:application/pdf;base64," + "A" * size
        return {"type": "file", "file": {"file_data": data, "filename": "a.pdf"}}

    assert tokens_of(file(4)) >= 500
    assert 5_000 <= tokens_of(file(600_000)) <= 50_000
    assert tokens_of({"type": "file", "file": {"file_id": "f1"}}) >= 500


def test_malformed_content_is_counted():
    for content in (
        *([{"type": "text"}], [{"type": "text", "text": None}], [{"type": "text", "text": 7}]),
        *([{}], [{"type": None}], [{"type": "novelty", "payload": {"deep": [1, {"x": object()}]}}]),
        *([{"type": "file"}], ["", "\ud800"], []),
    ):
        assert tokens_of(*content) >= prompt_tokens()


def test_the_users_own_counter_is_used_for_every_text():
    seen = []

    def count(text):
        seen.append(text)
        return 1000

    messages = [HumanMessage("one", name="Ada"), AIMessage("", tool_calls=[CALL])]
    assert prompt_tokens(*messages, tools=[TOOL], count=count) >= 4000
    assert {"one", "Ada"} <= set(seen)
