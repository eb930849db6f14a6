"""The contract of the local server: for each rule a body that keeps it and one that breaks it."""

import copy

import pytest

from langchain_aimlernie.testing import ignored_fields, validate_request

TEXT = "baidu/ernie-4.5-21b-a3b"
THINKING = "baidu/ernie-4.5-21b-a3b-thinking"
VISION = "baidu/ernie-4.5-vl-28b-a3b"
FIVE = "baidu/ernie-5.0"
ALL = (TEXT, THINKING, VISION, FIVE)
FOURS = (TEXT, THINKING, VISION)
PNG = "data:image/png;base64,iVBORw0KGgo="
HI = {"role": "user", "content": "Hi"}
PART = {"type": "text", "text": "Hi"}
CACHED = {**PART, "cache_control": {"type": "ephemeral", "ttl": "5m"}}
CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
RESULT = {"role": "tool", "content": "3", "tool_call_id": "c1"}
CALLED = [HI, {"role": "assistant", "content": "", "tool_calls": [CALL]}]
FUNCTION = {"name": "add", "parameters": {"type": "object", "properties": {}}}
TOOL = {"type": "function", "function": FUNCTION}
GRAMMAR = {"type": "grammar", "grammar": {"definition": "x", "syntax": "lark"}}
CUSTOM = {"type": "custom", "custom": {"name": "c", "format": GRAMMAR}}
NAMED = {"type": "function", "function": {"name": "add"}}


def body(model=TEXT, **fields):
    return copy.deepcopy({"model": model, "messages": [HI], **fields})


def user(content, **more):
    return {"messages": [{"role": "user", "content": content, **more}]}


def assistant(**fields):
    return {"messages": [HI, {"role": "assistant", **fields}]}


def after_a_call(**result):
    return {"messages": [*CALLED, {**RESULT, **result}]}


def image(**fields):
    return user([{"type": "image_url", "image_url": fields}])


def file(**fields):
    return user([{"type": "file", "file": fields}])


def function(**fields):
    return {"tools": [{"type": "function", "function": {**FUNCTION, **fields}}]}


def schema(**fields):
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "n", **fields}}}


VALID = {
    "string": (ALL, user("Hi", name="bob")),
    "text parts": (ALL, user([PART, PART])),
    "no parts": (ALL, user([])),
    "other keys of a user are dropped": (ALL, user("Hi", id="7")),
    "image by url": ((VISION, FIVE), image(url="https://example.com/a.png", detail="low")),
    "image in base64": ((VISION, FIVE), image(url=PNG)),
    "any string as an image": ((FIVE,), image(url="iVBORw0KGgo=")),
    "file": ((VISION, FIVE), file(file_data="JVBERi0=", filename="a.pdf")),
    "empty file": ((VISION, FIVE), file()),
    "cache control": (ALL, user([CACHED])),
    "system": (ALL, {"messages": [{"role": "system", "content": "Be kind", "name": "s"}, HI]}),
    "system parts": (ALL, {"messages": [{"role": "system", "content": [PART]}, HI]}),
    "developer": ((FIVE,), {"messages": [{"role": "developer", "content": [PART]}, HI]}),
    "assistant": (ALL, assistant(content="Hello", name="a", refusal=None)),
    "assistant parts": (ALL, assistant(content=[PART, PART])),
    "refusal part": (FOURS, assistant(content=[{"type": "refusal", "refusal": "No"}])),
    "calls without content": (ALL, assistant(tool_calls=[CALL])),
    "calls with null": ((FIVE,), assistant(content=None, tool_calls=[CALL])),
    "other keys of an assistant are dropped": (ALL, assistant(content="x", reasoning_content="y")),
    "custom call": (
        (FIVE,),
        assistant(
            tool_calls=[{"id": "x", "type": "custom", "custom": {"name": "c", "input": "i"}}]
        ),
    ),
    "tool result": (ALL, after_a_call(name="add")),
    "tool result, name null": (ALL, after_a_call(name=None)),
    "tool result in parts": ((FIVE,), after_a_call(content=[PART])),
    "two results of one call": (ALL, {"messages": [*CALLED, RESULT, RESULT]}),
    "max_tokens": (ALL, {"max_tokens": 1}),
    "max_tokens as float": (ALL, {"max_tokens": 1.5}),
    "max_completion_tokens": (ALL, {"max_completion_tokens": 1}),
    "whole float": (ALL, {"seed": 1.0}),
    "temperature": (ALL, {"temperature": 0}),
    "hot": (ALL, {"temperature": 2}),
    "top_p": (ALL, {"top_p": 0.01}),
    "penalties": (ALL, {"frequency_penalty": -2, "presence_penalty": 2}),
    "null penalties": (ALL, {"frequency_penalty": None, "presence_penalty": None}),
    "stop": (ALL, {"stop": "x"}),
    "four stops": (ALL, {"stop": ["a", "b", "c", "d"]}),
    "null stop": (ALL, {"stop": None}),
    "stream": (ALL, {"stream": True, "stream_options": {"include_usage": True}}),
    "tool": (ALL, {"tools": [TOOL]}),
    "strict tool": (ALL, function(strict=True, description="d")),
    "128 tools": (ALL, {"tools": [TOOL] * 128}),
    "no tools": (ALL, {"tools": []}),
    "tool without parameters": (
        (FIVE,),
        {"tools": [{"type": "function", "function": {"name": "a"}}]},
    ),
    "custom tool": ((FIVE,), {"tools": [CUSTOM]}),
    "tool of another type": ((FIVE,), {"tools": [{"type": "web_search"}]}),
    "tool_choice": (ALL, {"tools": [TOOL], "tool_choice": "required"}),
    "named tool_choice": (ALL, {"tools": [TOOL], "tool_choice": NAMED}),
    "allowed tools": (
        (FIVE,),
        {
            "tools": [TOOL],
            "tool_choice": {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "auto", "tools": [NAMED]},
            },
        },
    ),
    "parallel_tool_calls": (ALL, {"parallel_tool_calls": False}),
    "text format": (ALL, {"response_format": {"type": "text"}}),
    "json_object": (ALL, {"response_format": {"type": "json_object"}}),
    "json_schema": (ALL, schema(schema={"type": "object"}, strict=None, description="d")),
    "json_schema without schema": (ALL, schema()),
    "prediction": (FOURS, {"prediction": {"type": "content", "content": [PART]}}),
    "provider": ((THINKING, FIVE), {"provider": "auto"}),
    "thinking": ((FIVE,), {"enable_thinking": False, "thinking_budget": 100}),
    "normalize": ((FIVE,), {"normalize_tool_schemas": True}),
    "unknown keys are dropped": (ALL, {"n": 2, "logprobs": True}),
}
INVALID = {
    "no messages": (ALL, {"messages": []}, "messages: 0 items"),
    "messages are a list": (ALL, {"messages": "Hi"}, "messages: expected array"),
    "a message is an object": (ALL, {"messages": ["Hi"]}, "messages.0: expected object"),
    "role": (ALL, {"messages": [{"role": "human", "content": "Hi"}]}, "messages.0.role"),
    "no role": (ALL, {"messages": [{"content": "Hi"}]}, "messages.0.role"),
    "user without content": (ALL, {"messages": [{"role": "user"}]}, "messages.0.content: required"),
    "user null": (ALL, user(None), "messages.0.content: expected string or array, got null"),
    "user name null": (ALL, user("Hi", name=None), "messages.0.name: expected string"),
    "part without type": (ALL, user([{"text": "Hi"}]), "messages.0.content.0.type"),
    "part without text": (ALL, user([{"type": "text"}]), "messages.0.content.0.text: required"),
    "string part": (ALL, user(["Hi"]), "messages.0.content.0: expected object"),
    "image for a text model": ((TEXT, THINKING), image(url=PNG), "'image_url' is not one of text"),
    "file for a text model": ((TEXT, THINKING), file(file_data="x"), "'file' is not one of text"),
    "audio": (ALL, user([{"type": "input_audio", "input_audio": {}}]), "'input_audio' is not one"),
    "image without url": ((VISION, FIVE), image(), "image_url.url: required"),
    "image detail": ((VISION, FIVE), image(url=PNG, detail="best"), "detail: 'best' is not one of"),
    "image is no URL": ((VISION,), image(url="iVBORw0KGgo="), "neither an http(s) URL"),
    "image is no string": ((VISION, FIVE), image(url=1), "url: expected string"),
    "image is another file": (
        (VISION,),
        image(url="data:text/plain;base64,eA=="),
        "neither an http",
    ),
    "image is not base64": ((VISION,), image(url=PNG[:-2]), "url: not base64"),
    "file data": ((VISION, FIVE), file(file_data=1), "file_data: expected string"),
    "cache control": (
        (FIVE,),
        user([{**PART, "cache_control": {}}]),
        "cache_control.type: required",
    ),
    "foreign key of a system message": (
        FOURS,
        {"messages": [{"role": "system", "content": "x", "id": "7"}, HI]},
        "messages.0.id: not allowed here",
    ),
    "developer": (FOURS, {"messages": [{"role": "developer", "content": "x"}, HI]}, "'developer'"),
    "foreign key of a tool message": (FOURS, after_a_call(status="ok"), "messages.2.status: not"),
    "tool result in parts": (FOURS, after_a_call(content=[PART]), "content: expected string"),
    "tool result without id": (
        ALL,
        {"messages": [*CALLED, {"role": "tool", "content": "3"}]},
        "tool_call_id: required",
    ),
    "result of no call": (
        ALL,
        after_a_call(tool_call_id="c2"),
        "'c2' answers no earlier tool call",
    ),
    "result before its call": (ALL, {"messages": [RESULT, *CALLED]}, "messages.0.tool_call_id"),
    "assistant null": (
        FOURS,
        assistant(content=None, tool_calls=[CALL]),
        "string or array, got null",
    ),
    "assistant says nothing": (ALL, assistant(), "content: required unless tool_calls"),
    "assistant has no part": (ALL, assistant(content=[]), "one or more parts of type text"),
    "text beside a refusal": (
        FOURS,
        assistant(content=[PART, {"type": "refusal", "refusal": "No"}]),
        "exactly one of type refusal",
    ),
    "refusal part": (
        (FIVE,),
        assistant(content=[{"type": "refusal", "refusal": "No"}]),
        "'refusal'",
    ),
    "call without id": (ALL, assistant(tool_calls=[{**CALL, "id": None}]), "id: expected string"),
    "call without type": (
        ALL,
        assistant(tool_calls=[{"id": "x", "function": CALL["function"]}]),
        "tool_calls.0.type",
    ),
    "arguments as an object": (
        ALL,
        assistant(tool_calls=[{**CALL, "function": {"name": "add", "arguments": {}}}]),
        "arguments: expected string",
    ),
    "arguments null": (
        ALL,
        assistant(tool_calls=[{**CALL, "function": {"name": "add", "arguments": None}}]),
        "arguments: expected string",
    ),
    "custom call": (FOURS, assistant(tool_calls=[{"id": "x", "type": "custom"}]), "'custom'"),
    "max_tokens 0": (ALL, {"max_tokens": 0}, "max_tokens: 0 is not between 1"),
    "max_tokens null": (ALL, {"max_tokens": None}, "max_tokens: expected number, got null"),
    "max_completion_tokens": (FOURS, {"max_completion_tokens": 1.5}, "expected integer"),
    "true is no number": (ALL, {"temperature": True}, "temperature: expected number, got boolean"),
    "temperature": (ALL, {"temperature": 2.1}, "temperature: 2.1 is not between 0 and 2"),
    "not a number": (ALL, {"temperature": float("nan")}, "temperature: nan is not between"),
    "top_p": (ALL, {"top_p": 0}, "top_p: 0 is not between 0.01 and 1"),
    "frequency_penalty": (ALL, {"frequency_penalty": -2.1}, "frequency_penalty"),
    "presence_penalty": (ALL, {"presence_penalty": "1"}, "presence_penalty: expected number"),
    "seed": (ALL, {"seed": 0}, "seed: 0 is not between 1"),
    "seed is whole": (ALL, {"seed": 1.5}, "seed: expected integer"),
    "five stops": (ALL, {"stop": list("abcde")}, "stop: 5 items, at most 4"),
    "stops are strings": (ALL, {"stop": [1]}, "stop.0: expected string"),
    "stream": (ALL, {"stream": "true"}, "stream: expected boolean"),
    "stream_options": (ALL, {"stream_options": {}}, "stream_options.include_usage: required"),
    "tools": (ALL, {"tools": None}, "tools: expected array"),
    "129 tools": (ALL, {"tools": [TOOL] * 129}, "tools: 129 items, at most 128"),
    "tool name": (ALL, function(name="a b"), "name: 'a b' is not 1-64 of"),
    "long tool name": (ALL, function(name="a" * 65), "is not 1-64 of"),
    "tool name with a newline": (ALL, function(name="a\n"), "is not 1-64 of"),
    "tool description": (ALL, function(description=None), "description: expected string"),
    "tool parameters": (ALL, function(parameters=None), "parameters: expected object"),
    "tool without parameters": (
        FOURS,
        {"tools": [{"type": "function", "function": {"name": "a"}}]},
        "parameters: required",
    ),
    "foreign key of a function": (FOURS, function(cache_control={}), "cache_control: not allowed"),
    "foreign key of a tool": (
        FOURS,
        {"tools": [{**TOOL, "cache_control": {}}]},
        "not allowed here",
    ),
    "custom tool": (FOURS, {"tools": [CUSTOM]}, "'custom' is not one of function"),
    "tool of no type": ((FIVE,), {"tools": [{"type": ""}]}, "tools.0.type: '' is not a type"),
    "any": (ALL, {"tools": [TOOL], "tool_choice": "any"}, "tool_choice: 'any' is not one of none"),
    "choice null": (ALL, {"tool_choice": None}, "tool_choice: expected string or object"),
    "choice of no tool": (
        ALL,
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "sub"}}},
        "no tool is named 'sub'",
    ),
    "choice without a name": (
        ALL,
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {}}},
        "tool_choice.function.name: required",
    ),
    "required without tools": (ALL, {"tool_choice": "required"}, "there are no tools"),
    "format": (ALL, {"response_format": {"type": "xml"}}, "response_format.type: 'xml'"),
    "format string": (ALL, {"response_format": "json"}, "response_format: expected object"),
    "foreign key of a format": (
        ALL,
        {"response_format": {"type": "json_object", "schema": {}}},
        "response_format.schema: not allowed here",
    ),
    "json_schema": (ALL, {"response_format": {"type": "json_schema"}}, "json_schema: required"),
    "schema name": (ALL, schema(name="a b"), "json_schema.name: 'a b'"),
    "schema name is a string": (ALL, schema(name=7), "json_schema.name: expected string"),
    "function": (
        ALL,
        {"tools": [{"type": "function", "function": 7}]},
        "function: expected object",
    ),
    "no JSON at all": (ALL, {"seed": (1, 2)}, "seed: expected integer, got tuple"),
    "schema": (ALL, schema(schema=[]), "json_schema.schema: expected object"),
    "foreign key of a schema": (ALL, schema(extra=1), "json_schema.extra: not allowed here"),
    "prediction": (FOURS, {"prediction": {"type": "content"}}, "prediction.content: required"),
    "provider": ((THINKING, FIVE), {"provider": None}, "provider: expected string"),
    "thinking_budget": ((FIVE,), {"thinking_budget": 99}, "99 is not between 100"),
    "enable_thinking": ((FIVE,), {"enable_thinking": "no"}, "enable_thinking: expected boolean"),
}


def cases(table):
    return [
        pytest.param(model, *case, id=f"{name}, {model.partition('-')[2]}")
        for name, (models, *case) in table.items()
        for model in models
    ]


@pytest.mark.parametrize(("model", "fields"), cases(VALID))
def test_a_body_that_keeps_the_contract_is_taken(model, fields):
    assert validate_request(body(model, **fields)) == []


@pytest.mark.parametrize(("model", "fields", "said"), cases(INVALID))
def test_a_body_that_breaks_the_contract_is_told_where(model, fields, said):
    violations = validate_request(body(model, **fields))
    assert any(said in each for each in violations), violations


@pytest.mark.parametrize("model", [None, 7, "gpt-4o", "BAIDU/ERNIE-5.0"])
def test_a_model_that_is_not_served_is_no_valid_model(model):
    assert validate_request(body(model)) == [f"model: {model!r} is not served"]


def test_an_alias_is_as_good_as_the_id():
    assert validate_request(body("ernie-5.0", thinking_budget=100)) == []


@pytest.mark.parametrize(
    ("model", "fields", "ignored"),
    [
        (TEXT, {"n": 1}, ["n"]),
        (TEXT, {"provider": "auto"}, ["provider"]),
        (TEXT, {"enable_thinking": True}, ["enable_thinking"]),
        (FIVE, {"max_completion_tokens": 5}, ["max_completion_tokens"]),
        (TEXT, assistant(content="x", reasoning_content="y"), ["messages.1.reasoning_content"]),
        (TEXT, user([CACHED]), ["messages.0.content.0.cache_control"]),
        (FIVE, user([CACHED]), []),
        (TEXT, function(strict=True), []),
    ],
)
def test_what_the_api_would_not_read_is_named(model, fields, ignored):
    assert ignored_fields(body(model, **fields)) == ignored


def test_every_fault_is_told_at_once():
    broken = body(TEXT, stop=[1] * 5, top_p=9, messages=[{"role": "user"}, RESULT])
    assert len(validate_request(broken)) == 9


@pytest.mark.parametrize("broken", [{}, {"model": TEXT}, {"model": TEXT, "messages": [None, 1]}])
def test_a_body_of_any_shape_gets_an_answer(broken):
    assert validate_request(broken)
