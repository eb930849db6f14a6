"""Completions of the fake model: text, tool calls, JSON, reasoning, limits; without sockets."""

import json

import pytest

from langchain_aimlernie.testing import validate_request
from langchain_aimlernie.testing.encoding import split_tokens
from langchain_aimlernie.testing.fake_model import PREFIX, complete
from langchain_aimlernie.testing.models import BY_NAME
from tests.support.agents import FIVE, THINKING, VISION
from tests.support.agents import PLAIN as TEXT


def tool(name, **properties):
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "parameters": schema}}


STRING, INTEGER = {"type": "string"}, {"type": "integer"}
WEATHER = tool("get_weather", location=STRING)
ADD = tool("add", a=INTEGER, b=INTEGER)
SEARCH = tool("search", query=STRING)
TOOLS = [WEATHER, ADD, SEARCH]
CALL = {"id": "c", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
AFTER_RESULT = [
    {"role": "user", "content": "The weather in Paris?"},
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "content": "Sunny.", "tool_call_id": "c"},
]


def ask(question, model=TEXT, **fields):
    messages = [{"role": "user", "content": question}] if isinstance(question, str) else question
    body = {"model": model, "messages": messages, **fields}
    assert validate_request(body) == []
    return complete(body, BY_NAME[model])


def calls(question, tools=TOOLS, **fields):
    reply = ask(question, tools=tools, **fields)
    return [(call["name"], json.loads(call["args"])) for call in reply.tool_calls]


@pytest.mark.parametrize("question", ["Hi", "你好吗", "", "x" * 5_000])
def test_every_text_begins_with_the_prefix(question):
    reply = ask(question, THINKING)
    assert reply.text.startswith(PREFIX)
    assert reply.reasoning.startswith(PREFIX)
    assert question[:400] in reply.text
    assert ask(question, THINKING) == reply


@pytest.mark.parametrize(
    ("question", "called"),
    [
        ("What is the weather in Paris?", [("get_weather", {"location": "Paris"})]),
        ("Add 3 and 4", [("add", {"a": 3, "b": 4})]),
        ("Search for 'LangChain'", [("search", {"query": "LangChain"})]),
        ("search, then get_weather", [(name, None) for name in ("get_weather", "search")]),
        ("Tell me a joke", []),
    ],
)
def test_tools_that_the_question_names_are_called(question, called):
    made = calls(question)
    assert [name for name, _ in made] == [name for name, _ in called]
    assert all(args in (None, real[1]) for (_, args), real in zip(called, made, strict=True))
    assert len(calls(question, parallel_tool_calls=False)) == min(1, len(called))


NAMED = {"type": "function", "function": {"name": "add"}}


def allowed(mode):
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [NAMED]}}


@pytest.mark.parametrize(
    ("model", "choice", "names"),
    [
        (TEXT, "required", ["get_weather"]),
        (TEXT, "auto", []),
        (TEXT, "none", []),
        (TEXT, NAMED, ["add"]),
        (FIVE, allowed("auto"), []),
        (FIVE, allowed("required"), ["add"]),
    ],
)
def test_tool_choice_is_obeyed(model, choice, names):
    assert [name for name, _ in calls("Hello", model=model, tool_choice=choice)] == names


def test_result_of_a_tool_is_repeated_until_there_is_a_new_question():
    reply = ask(AFTER_RESULT, tools=TOOLS)
    assert reply.text == f"{PREFIX} The tool get_weather gave: Sunny."
    assert not reply.tool_calls
    assert ask(AFTER_RESULT, tools=TOOLS, tool_choice="required").tool_calls
    answered = [*AFTER_RESULT, {"role": "assistant", "content": "It is sunny."}]
    asked = [*answered, {"role": "user", "content": "And the weather in Rome?"}]
    assert calls(asked) == [("get_weather", {"location": "Rome"})]


@pytest.mark.parametrize(
    ("prompt", "key"),
    [
        ('Answer with this schema: {"properties": {"city": {"type": "string"}}}', "city"),
        ('Schema: {"name": "n", "schema": {"properties": {"city": {}}}}, {broken', "city"),
        ('{broken, then {"parameters": {"properties": {"city": {}}}}', "city"),
        ("Answer in JSON", "answer"),
    ],
)
@pytest.mark.parametrize("role", ["user", "system"])
def test_json_mode_reads_the_schema_from_the_prompt(prompt, key, role):
    messages = [{"role": role, "content": prompt}, {"role": "user", "content": "Paris"}]
    reply = ask(messages, response_format={"type": "json_object"})
    assert json.loads(reply.text).keys() == {key}


@pytest.mark.parametrize("stop", ["You", ["zzz", "You"], ["said", "You"]])
def test_text_ends_before_the_first_stop_sequence(stop):
    assert ask("Hi", stop=stop).text == f"{PREFIX} "


def test_reply_has_no_more_tokens_than_allowed():
    for limit in (1, 5, 15):
        reply = ask("One two three four five six seven", THINKING, max_tokens=limit)
        assert sum(len(split_tokens(each)) for each in (reply.reasoning, reply.text)) == limit
        assert reply.finish_reason == "length"
    reply = ask("The weather in Paris?", tools=TOOLS, max_completion_tokens=3)
    assert reply.tool_calls[0]["args"] == '{"'
    assert reply.finish_reason == "length"
    assert ask("Hello", FIVE, max_tokens=10_000).finish_reason is None
    assert ask("Hello", FIVE, max_completion_tokens=1).finish_reason is None  # not a field of it


def test_only_thinking_models_reason_and_within_their_budget():
    assert ask("Hi", TEXT).reasoning is None
    assert ask("Hi", FIVE, enable_thinking=False).reasoning is None
    assert ask("Hi", THINKING, enable_thinking=False).reasoning is not None  # not a field of it
    reply = ask("many words " * 200, FIVE, thinking_budget=100)
    assert len(split_tokens(reply.reasoning)) == 100


URL, PNG = {"url": "https://e.com/a.png"}, {"url": "data:image/png;base64,iVBORw0KGgo="}
PDF = {"file_data": "JVBERi0=", "filename": "a.pdf"}


@pytest.mark.parametrize(
    ("kind", "part", "text"),
    [
        ("image_url", URL, "an image (https://e.com/a.png)"),
        ("image_url", PNG, "an image (data:image/png;base64,iVBORw0KGgo=)"),
        ("file", PDF, "a file (a.pdf)"),
    ],
)
def test_media_are_described(kind, part, text):
    parts = [{"type": "text", "text": "See"}, {"type": kind, kind: part}]
    question = [{"role": "user", "content": parts}]
    assert ask(question, VISION).text == f"{PREFIX} You said: See\nI was given {text}."
