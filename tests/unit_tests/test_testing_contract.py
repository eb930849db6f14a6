"""The contract of the local server: for each rule a body that keeps it and one that breaks it."""

import copy

import pytest

from langchain_aimlernie.testing import ignored_fields, validate_request
from tests.support.agents import FIVE, THINKING, VISION
from tests.support.agents import PLAIN as TEXT

BOTH, SEES, OLD, NEW = (TEXT, FIVE), (VISION, FIVE), (TEXT,), (FIVE,)
PNG = "data:image/png;base64,iVBORw0KGgo="
HI = {"role": "user", "content": "Hi"}
PART = {"type": "text", "text": "Hi"}
CACHED = {**PART, "cache_control": {"type": "ephemeral", "ttl": "5m"}}
REFUSAL = {"type": "refusal", "refusal": "No"}
CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
RESULT = {"role": "tool", "content": "3", "tool_call_id": "c1"}
CALLED = [HI, {"role": "assistant", "content": "", "tool_calls": [CALL]}]
FUNCTION = {"name": "add", "parameters": {"type": "object", "properties": {}}}
TOOL = {"type": "function", "function": FUNCTION}
NAMELESS = {"type": "function", "function": {}}
GRAMMAR = {"type": "grammar", "grammar": {"definition": "x", "syntax": "lark"}}
CUSTOM = {"type": "custom", "custom": {"name": "c", "format": GRAMMAR}}
NAMED = {"type": "function", "function": {"name": "add"}}
ALLOWED = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [NAMED]}}


def body(model=TEXT, **fields):
    return copy.deepcopy({"model": model, "messages": [HI], **fields})


def messages(*sent):
    return {"messages": list(sent)}


def user(content, **more):
    return messages({"role": "user", "content": content, **more})


def system(content, role="system", **more):
    return messages({"role": role, "content": content, **more}, HI)


def assistant(**fields):
    return messages(HI, {"role": "assistant", **fields})


def calls(*made):
    return assistant(tool_calls=list(made))


def after_a_call(**result):
    return messages(*CALLED, {**RESULT, **result})


def image_part(held):
    return user([{"type": "image_url", "image_url": held}])


def image(**fields):
    return image_part(fields)


def file(**fields):
    return user([{"type": "file", "file": fields}])


def tools(*given, **fields):
    return {"tools": list(given), **fields}


def function(**fields):
    return tools({"type": "function", "function": {**FUNCTION, **fields}})


def form(kind, **fields):
    return {"response_format": {"type": kind, **fields}}


def schema(**fields):
    return form("json_schema", json_schema={"name": "n", **fields})


VALID = {
    "string": (BOTH, user("Hi", name="bob")),
    "text parts": (BOTH, user([PART, PART])),
    "no parts": (BOTH, user([])),
    "other keys of a user are dropped": (BOTH, user("Hi", id="7")),
    "image by url": (SEES, image(url="https://example.com/a.png", detail="low")),
    "image in base64": (SEES, image(url=PNG)),
    "any string as an image": (NEW, image(url="iVBORw0KGgo=")),
    "file": (SEES, file(file_data="JVBERi0=", filename="a.pdf")),
    "empty file": (SEES, file()),
    "cache control": (BOTH, user([CACHED])),
    "system": (BOTH, system("Be kind", name="s")),
    "system parts": (BOTH, system([PART])),
    "developer": (NEW, system([PART], "developer")),
    "assistant": (BOTH, assistant(content="Hello", name="a", refusal=None)),
    "assistant parts": (BOTH, assistant(content=[PART, PART])),
    "refusal part": (OLD, assistant(content=[REFUSAL])),
    "calls without content": (BOTH, calls(CALL)),
    "calls with null": (NEW, assistant(content=None, tool_calls=[CALL])),
    "other keys of an assistant are dropped": (BOTH, assistant(content="x", reasoning_content="y")),
    "custom call": (NEW, calls({"id": "x", "type": "custom", "custom": {"name": "c", "input": "i"}})),
    "tool result": (BOTH, after_a_call(name="add")),
    "tool result, name null": (BOTH, after_a_call(name=None)),
    "tool result in parts": (NEW, after_a_call(content=[PART])),
    "two results of one call": (BOTH, messages(*CALLED, RESULT, RESULT)),
    "max_tokens": (BOTH, {"max_tokens": 1}),
    "max_tokens as float": (BOTH, {"max_tokens": 1.5}),
    "max_completion_tokens": (BOTH, {"max_completion_tokens": 1}),
    "whole float": (BOTH, {"seed": 1.0}),
    "temperature": (BOTH, {"temperature": 0}),
    "hot": (BOTH, {"temperature": 2}),
    "top_p": (BOTH, {"top_p": 0.01}),
    "penalties": (BOTH, {"frequency_penalty": -2, "presence_penalty": 2}),
    "null penalties": (BOTH, {"frequency_penalty": None, "presence_penalty": None}),
    "stop": (BOTH, {"stop": "x"}),
    "four stops": (BOTH, {"stop": ["a", "b", "c", "d"]}),
    "null stop": (BOTH, {"stop": None}),
    "stream": (BOTH, {"stream": True, "stream_options": {"include_usage": True}}),
    "tool": (BOTH, tools(TOOL)),
    "strict tool": (BOTH, function(strict=True, description="d")),
    "tool, strict null": (BOTH, function(strict=None)),
    "128 tools": (BOTH, tools(*[TOOL] * 128)),
    "no tools": (BOTH, tools()),
    "tool without parameters": (NEW, tools(NAMED)),
    "custom tool": (NEW, tools(CUSTOM)),
    "tool of another type": (NEW, tools({"type": "web_search"})),
    "tool_choice": (BOTH, tools(TOOL, tool_choice="required")),
    "named tool_choice": (BOTH, tools(TOOL, tool_choice=NAMED)),
    "allowed tools": (NEW, tools(TOOL, tool_choice=ALLOWED)),
    "parallel_tool_calls": (BOTH, {"parallel_tool_calls": False}),
    "text format": (BOTH, form("text")),
    "json_object": (BOTH, form("json_object")),
    "json_schema": (BOTH, schema(schema={"type": "object"}, strict=None, description="d")),
    "json_schema without schema": (BOTH, schema()),
    "prediction": (OLD, {"prediction": {"type": "content", "content": [PART]}}),
    "provider": ((THINKING, FIVE), {"provider": "auto"}),
    "thinking": (NEW, {"enable_thinking": False, "thinking_budget": 100}),
    "normalize": (NEW, {"normalize_tool_schemas": True}),
    "unknown keys are dropped": (BOTH, {"n": 2, "logprobs": True}),
    "alias": (("ernie-5.0",), {"thinking_budget": 100}),
}  # fmt: skip
INVALID = {
    "no messages": (BOTH, {"messages": []}, "messages: "),
    "messages are a list": (BOTH, {"messages": "Hi"}, "messages: "),
    "a message is an object": (BOTH, messages("Hi"), "messages.0: expected object"),
    "role": (BOTH, messages({"role": "human", "content": "Hi"}), "messages.0.role"),
    "an image is an object": (SEES, image_part("x"), "messages.0.content.0.image_url: expected object; got 'x'"),
    "a tool is an object": (BOTH, tools("x"), "tools.0: expected object"),
    "a tool has a type": (NEW, tools({"type": None}), "tools.0.type: "),
    "no role": (BOTH, messages({"content": "Hi"}), "messages.0.role"),
    "user without content": (BOTH, messages({"role": "user"}), "messages.0.content: required"),
    "user null": (BOTH, user(None), "messages.0.content: expected string or array"),
    "user name null": (BOTH, user("Hi", name=None), "messages.0.name: "),
    "part without type": (BOTH, user([{"text": "Hi"}]), "messages.0.content.0.type"),
    "part without text": (BOTH, user([{"type": "text"}]), "messages.0.content.0.text: required"),
    "string part": (BOTH, user(["Hi"]), "messages.0.content.0:"),
    "image for a text model": (OLD, image(url=PNG), "content.0.text: required, and missing"),
    "file for a text model": (OLD, file(file_data="x"), "content.0.text: required, and missing"),
    "audio": (BOTH, user([{"type": "input_audio", "input_audio": {}}]), "messages.0.content.0.type:"),
    "image without url": (SEES, image(), "image_url.url: required"),
    "image detail": (SEES, image(url=PNG, detail="best"), "messages.0.content.0.image_url.detail: "),
    "image is no URL": ((VISION,), image(url="iVBORw0KGgo="), "neither an http(s) URL"),
    "image is no string": (SEES, image(url=1), "messages.0.content.0.image_url.url: "),
    "image is another file": ((VISION,), image(url="data:text/plain;base64,eA=="), "neither an http"),
    "image is not base64": ((VISION,), image(url=PNG[:-2]), "url: not base64"),
    "file data": (SEES, file(file_data=1), "messages.0.content.0.file.file_data: "),
    "cache control": (NEW, user([{**PART, "cache_control": {}}]), "cache_control.type: required"),
    "foreign key of a system message": (OLD, system("x", id="7"), "messages.0.id: not allowed here"),
    "developer": (OLD, system("x", "developer"), "'developer'"),
    "foreign key of a tool message": (OLD, after_a_call(status="ok"), "messages.2.status: not"),
    "tool result in parts": (OLD, after_a_call(content=[PART]), "messages.2.content: "),
    "tool result without id": (BOTH, messages(*CALLED, {"role": "tool", "content": "3"}), "tool_call_id: required"),
    "result of no call": (BOTH, after_a_call(tool_call_id="c2"), "'c2' answers no earlier tool call"),
    "result id is a string": (BOTH, after_a_call(tool_call_id=[]), "messages.2.tool_call_id: "),
    "part type is a string": (BOTH, assistant(content=[{"type": []}]), "messages.1.content.0.type: "),
    "result before its call": (BOTH, messages(RESULT, *CALLED), "messages.0.tool_call_id"),
    "assistant null": (OLD, assistant(content=None, tool_calls=[CALL]), "messages.1.content: expected string or array"),
    "assistant says nothing": (BOTH, assistant(), "content: required unless tool_calls"),
    "assistant has no part": (BOTH, assistant(content=[]), "one or more parts of type text"),
    "text beside a refusal": (OLD, assistant(content=[PART, REFUSAL]), "exactly one of type refusal"),
    "refusal part": (NEW, assistant(content=[REFUSAL]), "'refusal'"),
    "call without id": (BOTH, calls({**CALL, "id": None}), "messages.1.tool_calls.0.id: "),
    "call without type": (BOTH, calls({"id": "x", "function": CALL["function"]}), "tool_calls.0.type"),
    "arguments as an object": (BOTH, calls({**CALL, "function": {"name": "add", "arguments": {}}}),
                               "messages.1.tool_calls.0.function.arguments: "),
    "arguments null": (BOTH, calls({**CALL, "function": {"name": "add", "arguments": None}}),
                       "messages.1.tool_calls.0.function.arguments: "),
    "custom call": (OLD, calls({"id": "x", "type": "custom"}), "'custom'"),
    "max_tokens 0": (BOTH, {"max_tokens": 0}, "max_tokens: "),
    "max_tokens null": (BOTH, {"max_tokens": None}, "max_tokens: "),
    "max_completion_tokens": (OLD, {"max_completion_tokens": 1.5}, "max_completion_tokens: expected an integer"),
    "true is no number": (BOTH, {"temperature": True}, "temperature: "),
    "temperature": (BOTH, {"temperature": 2.1}, "temperature: "),
    "not a number": (BOTH, {"temperature": float("nan")}, "temperature: "),
    "infinite": (BOTH, {"max_tokens": float("inf")}, "max_tokens: "),
    "top_p": (BOTH, {"top_p": 0}, "top_p: "),
    "frequency_penalty": (BOTH, {"frequency_penalty": -2.1}, "frequency_penalty"),
    "presence_penalty": (BOTH, {"presence_penalty": "1"}, "presence_penalty: "),
    "seed": (BOTH, {"seed": 0}, "seed: "),
    "seed is whole": (BOTH, {"seed": 1.5}, "seed: expected an integer"),
    "five stops": (BOTH, {"stop": list("abcde")}, "stop: "),
    "stops are strings": (BOTH, {"stop": [1]}, "stop.0: "),
    "stream": (BOTH, {"stream": "true"}, "stream: "),
    "stream_options": (BOTH, {"stream_options": {}}, "stream_options.include_usage: required"),
    "tools": (BOTH, {"tools": None}, "tools: "),
    "129 tools": (BOTH, tools(*[TOOL] * 129), "tools: "),
    "tool name": (BOTH, function(name="a b"), "tools.0.function.name: "),
    "long tool name": (BOTH, function(name="a" * 65), "tools.0.function.name: "),
    "tool name with a newline": (BOTH, function(name="a\n"), "tools.0.function.name: "),
    "tool description": (BOTH, function(description=None), "tools.0.function.description: "),
    "tool parameters": (BOTH, function(parameters=None), "tools.0.function.parameters: expected object; got None"),
    "tool without parameters": (OLD, tools(NAMED), "parameters: required"),
    "foreign key of a function": (OLD, function(cache_control={}), "cache_control: not allowed"),
    "foreign key of a tool": (OLD, tools({**TOOL, "cache_control": {}}), "not allowed here"),
    "custom tool": (OLD, tools(CUSTOM), "tools.0.custom: not allowed here"),
    "tool of no type": (NEW, tools({"type": ""}), "tools.0.type: "),
    "any": (BOTH, tools(TOOL, tool_choice="any"), "tool_choice: "),
    "choice null": (BOTH, {"tool_choice": None}, "tool_choice: expected string or object"),
    "choice of no tool": (BOTH, tools({**TOOL, "function": {**FUNCTION, "name": "sub"}}, tool_choice=NAMED),
                          "no tool is named 'add'"),
    "choice without a name": (BOTH, tools(TOOL, tool_choice=NAMELESS), "tool_choice.function.name: required"),
    "required without tools": (BOTH, {"tool_choice": "required"}, "there are no tools"),
    "format": (BOTH, form("xml"), "response_format.type: not one of text, json_object, json_schema"),
    "format string": (BOTH, {"response_format": "json"}, "response_format: expected object"),
    "foreign key of a format": (BOTH, form("json_object", schema={}), "response_format.schema: not allowed here"),
    "json_schema": (BOTH, form("json_schema"), "json_schema: required"),
    "schema name": (BOTH, schema(name="a b"), "response_format.json_schema.name: "),
    "schema name is a string": (BOTH, schema(name=7), "response_format.json_schema.name: "),
    "function": (BOTH, tools({"type": "function", "function": 7}), "tools.0.function:"),
    "no JSON at all": (BOTH, {"seed": (1, 2)}, "seed: "),
    "schema": (BOTH, schema(schema=[]), "response_format.json_schema.schema: "),
    "foreign key of a schema": (BOTH, schema(extra=1), "json_schema.extra: not allowed here"),
    "prediction": (OLD, {"prediction": {"type": "content"}}, "prediction.content: required"),
    "provider": ((THINKING, FIVE), {"provider": None}, "provider: "),
    "thinking_budget": (NEW, {"thinking_budget": 99}, "thinking_budget: "),
    "enable_thinking": (NEW, {"enable_thinking": "no"}, "enable_thinking: "),
}  # fmt: skip


@pytest.mark.parametrize(("models", "fields"), VALID.values(), ids=VALID)
def test_valid_body_is_accepted(models, fields):
    assert [validate_request(body(model, **fields)) for model in models] == [[]] * len(models)


@pytest.mark.parametrize(("models", "fields", "message"), INVALID.values(), ids=INVALID)
def test_violation_names_its_location(models, fields, message):
    for model in models:
        violations = validate_request(body(model, **fields))
        assert any(message in each for each in violations), (model, violations)


@pytest.mark.parametrize("model", [None, 7, "gpt-4o", "BAIDU/ERNIE-5.0"])
def test_model_that_is_not_served_is_a_violation(model):
    assert validate_request(body(model)) == [f"model: {model!r} is not served"]


@pytest.mark.parametrize(
    ("model", "fields", "ignored"),
    [
        (TEXT, {"n": 1}, ["n"]),
        (TEXT, {"provider": "auto"}, ["provider"]),
        ("ernie-4.5-300b-a47b", {"provider": "auto"}, []),
        (TEXT, {"enable_thinking": True}, ["enable_thinking"]),
        (FIVE, {"max_completion_tokens": 5}, ["max_completion_tokens"]),
        (TEXT, assistant(content="x", reasoning_content="y"), ["messages.1.reasoning_content"]),
        (TEXT, user([CACHED]), ["messages.0.content.0.cache_control"]),
        (FIVE, user([CACHED]), []),
        (VISION, file(file_id="f"), ["messages.0.content.0.file.file_id"]),
        (FIVE, file(file_id="f"), []),
        (TEXT, calls({**CALL, "extra_content": {}}), ["messages.1.tool_calls.0.extra_content"]),
        (FIVE, calls({**CALL, "extra_content": {}}), []),
        (TEXT, function(strict=True), []),
    ],
)
def test_ignored_fields_are_reported(model, fields, ignored):
    assert ignored_fields(body(model, **fields)) == ignored


def test_all_violations_are_reported_at_once():
    broken = body(TEXT, stop=[1] * 5, top_p=9, messages=[{"role": "user"}, RESULT])
    assert len(validate_request(broken)) == 4


@pytest.mark.parametrize("broken", [{}, {"model": TEXT}, {"model": TEXT, "messages": [None, 1]}])
def test_body_of_any_shape_is_checked(broken):
    assert validate_request(broken)
