"""Request bodies that users of comparable packages have reported as wrong."""

from __future__ import annotations

import copy
import pickle
import re
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
from langchain_core.load import dumps
from langchain_core.messages import (
    AIMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
    filter_messages,
)
from langchain_core.messages.tool import tool_call
from langchain_core.tools import tool

from langchain_aimlernie.errors import BadRequestError

CALLS = pytest.mark.parametrize("method", ["invoke", "ainvoke", "stream", "astream"])
TEXT_MODEL = "baidu/ernie-4.5-21b-a3b"
THINKING = "baidu/ernie-4.5-21b-a3b-thinking"
VISION = "baidu/ernie-4.5-vl-28b-a3b"
FIVE = "baidu/ernie-5.0"

PNG = "iVBORw0KGgoA"
IMAGE = {"type": "image", "base64": PNG, "mime_type": "image/png"}
PDF = {"type": "file", "base64": "JVBERi0x", "mime_type": "application/pdf"}
AUDIO = {"type": "audio", "base64": "AAAA", "mime_type": "audio/wav"}
CACHE_CONTROL = {"type": "ephemeral"}


@tool
def weather(city: str) -> str:
    """Tell the weather of a city."""
    return city


@tool
def now() -> str:
    """Tell the time."""
    return "now"


def text(value, **more):
    return {"type": "text", "text": value, **more}


def call(name="f", call_id="c1", **args):
    return tool_call(name=name, args=args, id=call_id)


async def call_model(llm, messages, method, **options):
    if method == "invoke":
        return llm.invoke(messages, **options)
    if method == "ainvoke":
        return await llm.ainvoke(messages, **options)
    if method == "stream":
        return list(llm.stream(messages, **options))
    return [chunk async for chunk in llm.astream(messages, **options)]


# `tool_calls` is authoritative


def test_a_call_that_core_filters_is_not_sent(model, ernie_server):
    """The content of an Anthropic message, and `additional_kwargs`, still contain it."""
    calls = [call(), call(call_id="c2")]
    raw = [{"id": each["id"], "function": {"name": "f", "arguments": "{}"}} for each in calls]
    uses = [{"type": "tool_use", "id": each["id"], "name": "f", "input": {}} for each in calls]
    turn = AIMessage([*uses], additional_kwargs={"tool_calls": raw}, tool_calls=calls)
    results = [ToolMessage("1", tool_call_id="c1"), ToolMessage("2", tool_call_id="c2")]
    messages = [HumanMessage("a"), turn, *results]
    model().invoke(filter_messages(messages, exclude_tool_calls=["c2"]))
    _, sent, result = ernie_server.last_request.body["messages"]
    assert [each["id"] for each in sent["tool_calls"]] == [result["tool_call_id"]] == ["c1"]


# Tools in other formats: the tables are in the unit tests

PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FUNCTION = {"name": "weather", "description": "Tell.", "parameters": PARAMETERS}
ANTHROPIC = {"name": "weather", "description": "Tell.", "input_schema": PARAMETERS}
NAMED = {"type": "function", "function": {"name": "weather"}}
SERVER_TOOL = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}
BOUND = pytest.mark.parametrize("bound", [True, False], ids=["bind_tools", "per call"])


@BOUND
def test_tools_and_choice_of_other_providers_are_sent(model, ernie_server, bound):
    choice = {"type": "allowed_tools", "mode": "required", "tools": [NAMED]}
    options = {"tools": [ANTHROPIC, now], "tool_choice": choice}
    if bound:
        model().bind_tools(**options).invoke("hi")
    else:
        model().invoke("hi", **options)
    body = ernie_server.last_request.body
    assert body["tools"] == [{"type": "function", "function": FUNCTION}]
    assert body["tool_choice"] == "required"
    assert "parallel_tool_calls" not in body


def test_server_tools_of_other_providers_are_rejected(model, ernie_server):
    with pytest.raises(ValueError, match="web_search_20250305"):
        model().bind_tools([weather, SERVER_TOOL])
    with pytest.raises(BadRequestError, match="web_search_20250305"):
        model().invoke("hi", tools=[weather, SERVER_TOOL])
    assert ernie_server.requests == []


@pytest.mark.parametrize(
    ("tools", "message"),
    [
        (5, "must be a list, such as [my_tool]; got 5"),
        ("now", "must be a list, such as [my_tool]; got 'now'"),
        (now, "must be a list"),
        (ANTHROPIC, "must be a list"),
        ([5], "5 is not a tool. Pass a LangChain tool, a function"),
        ([None], "None is not a tool"),
        (["now"], "'now' is not a tool"),
        ([{"city": "Paris"}], "{'city': 'Paris'} is not a tool"),
    ],
)
def test_what_is_not_a_tool_is_named(model, ernie_server, tools, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        model().bind_tools(tools)
    with pytest.raises(BadRequestError, match=re.escape(message)):
        model().invoke("hi", tools=tools)
    assert ernie_server.requests == []


def test_the_values_of_a_dict_are_tools(model, ernie_server):
    model().bind_tools({"now": now}.values()).invoke("hi")
    assert [tool["function"]["name"] for tool in ernie_server.last_request.body["tools"]] == ["now"]


@BOUND
@pytest.mark.parametrize("own", [None, True])
def test_disable_parallel_tool_use_of_anthropic(model, ernie_server, bound, own):
    choice = {"type": "auto", "disable_parallel_tool_use": True}
    options = {"tools": [weather], "tool_choice": choice, "parallel_tool_calls": own}
    if bound:
        model().bind_tools(**options).invoke("hi")
    else:
        model().invoke("hi", **{name: value for name, value in options.items() if value})
    assert ernie_server.last_request.body["parallel_tool_calls"] is (own or False)


def test_a_tool_choice_of_unknown_form_is_rejected_with_a_hint(model, ernie_server):
    with pytest.raises(ValueError, match="Use 'auto', 'none', 'any', the name of a tool"):
        model().bind_tools([weather], tool_choice=5)
    with pytest.raises(BadRequestError, match="Use 'auto', 'none', 'any', the name of a tool"):
        model().invoke("hi", tools=[weather], tool_choice=5)
    assert ernie_server.requests == []


# Blocks in a `ToolMessage`, and media that the model does not take


def history(*blocks):
    """A thread whose user, instructions or tool showed something."""
    turn = AIMessage("", tool_calls=[call()])
    result = ToolMessage([text("a"), *blocks], tool_call_id="c1")
    return {
        "user": [HumanMessage([text("a"), *blocks])],
        "instructions": [SystemMessage([text("a"), *blocks]), HumanMessage("b")],
        "tool": [HumanMessage("b"), turn, result],
        "user in Anthropic's form": [
            HumanMessage("b"),
            turn,
            HumanMessage(
                [{"type": "tool_result", "tool_use_id": "c1", "content": [text("a"), *blocks]}]
            ),
        ],
    }


PLACES = pytest.mark.parametrize("place", history())
MEDIA = pytest.mark.parametrize(
    ("block", "name"),
    [
        (IMAGE, "image"),
        (PDF, "file"),
        (AUDIO, "audio"),
        ({"type": "image", "base64": PNG}, "image"),
        ({"type": "image", "file_id": "file-1"}, "image"),
        ({"type": "image", "base64": "AAAA", "mime_type": "image/tiff"}, "image"),
        ({"type": "video", "url": "https://e.com/a.mp4"}, "video"),
    ],
    ids=["image", "file", "audio", "no format", "by id", "unusual format", "video"],
)


@PLACES
@MEDIA
def test_unsupported_media_raise_or_are_omitted(model, ernie_server, place, block, name):
    messages = history(block)[place]
    with pytest.raises(BadRequestError) as caught:
        model().invoke(messages)
    for part in (f"'{name}'", 'on_unsupported_content="omit"', f"'[{name} omitted]'"):
        assert part in str(caught.value)
    assert ernie_server.requests == []
    model(on_unsupported_content="omit").invoke(messages)
    assert f"[{name} omitted]" in str(ernie_server.last_request.body["messages"])


@PLACES
def test_unsupported_media_are_omitted_on_request(model, ernie_server, place):
    model(on_unsupported_content="omit").invoke(history(IMAGE, PDF, AUDIO)[place])
    sent = [each["content"] for each in ernie_server.last_request.body["messages"]]
    names = ("image", "file", "audio")
    if place == "user":
        assert sent == [[text("a"), *(text(f"[{name} omitted]") for name in names)]]
    elif place == "instructions":
        assert sent == ["a[image omitted][file omitted][audio omitted]", "b"]
    else:
        assert sent[-1] == "a\n[image omitted]\n[file omitted]\n[audio omitted]"
    assert ernie_server.violations == []


def test_on_unsupported_content_can_be_set_per_call_bound_and_changed(model, ernie_server):
    messages = history(IMAGE)["tool"]
    llm = model()
    llm.invoke(messages, on_unsupported_content="omit")
    llm.bind(on_unsupported_content="omit").invoke(messages)
    llm.model_copy(update={"on_unsupported_content": "omit"}).invoke(messages)
    assert len(ernie_server.requests) == 3
    with pytest.raises(BadRequestError, match="does not take"):
        llm.invoke(messages)
    with pytest.raises(ValueError, match="on_unsupported_content"):
        model(on_unsupported_content="drop")
    with pytest.raises(BadRequestError, match="on_unsupported_content"):
        llm.invoke(messages, on_unsupported_content="drop")


def test_supported_media_are_not_omitted(model, ernie_server):
    llm = model(model=VISION, on_unsupported_content="omit")
    llm.invoke(history(IMAGE, AUDIO)["tool"])
    *_, result, shown = ernie_server.last_request.body["messages"]
    assert result["content"].splitlines()[:2] == ["a", "[audio omitted]"]
    assert [part["type"] for part in shown["content"]] == ["text", "image_url"]


# `cache_control`


def test_cache_control_of_tools(model, ernie_server):
    cached_tool = {**ANTHROPIC, "cache_control": CACHE_CONTROL}
    encoded = {"type": "function", "function": FUNCTION}
    model(model=FIVE).bind_tools([cached_tool, now]).invoke("hi")
    first, second = ernie_server.last_request.body["tools"]
    assert first == {**encoded, "cache_control": CACHE_CONTROL}
    assert "cache_control" not in second
    model().bind_tools([cached_tool]).invoke("hi")
    assert ernie_server.last_request.body["tools"] == [encoded]


# Blocks that core itself fails on

INCOMPLETE = {
    "v0 text": ({"type": "file", "source_type": "text", "text": "hi"}, "hi"),
    "v0 text with a name": (
        {
            "type": "file",
            "source_type": "text",
            "text": "hi",
            "mime_type": "text/plain",
            "metadata": {"filename": "a.txt"},
        },
        "a.txt\nhi",
    ),
    "v0 text under its old key": ({"type": "file", "source_type": "text", "url": "hi"}, "hi"),
    "v0 image without a format": (
        {"type": "image", "source_type": "base64", "data": PNG},
        [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}],
    ),
    "v0 image with an id": (
        {"type": "image", "source_type": "url", "url": "https://e.com/a.png", "id": "block-1"},
        [{"type": "image_url", "image_url": {"url": "https://e.com/a.png"}}],
    ),
    "v0 image with a list of sources": (
        {"type": "image", "source_type": ["url"], "url": "https://e.com/a.png"},
        [{"type": "image_url", "image_url": {"url": "https://e.com/a.png"}}],
    ),
    "image that is a text": ({"type": "image", "mime_type": "text/plain", "text": "hi"}, "hi"),
    "v1 image without a format": (
        {"type": "image", "base64": PNG},
        [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}],
    ),
}


@CALLS
@pytest.mark.parametrize(("block", "sent"), INCOMPLETE.values(), ids=INCOMPLETE)
async def test_blocks_that_core_cannot_read_are_sent(model, ernie_server, block, sent, method):
    message = HumanMessage([block])
    before = copy.deepcopy(message)
    await call_model(model(model=VISION), [message], method)
    assert ernie_server.last_request.body["messages"] == [{"role": "user", "content": sent}]
    assert message == before


@pytest.mark.parametrize("place", history())
async def test_blocks_that_core_cannot_read_are_sent_by_generate_and_batch(
    model, ernie_server, place
):
    messages = history({"type": "file", "source_type": "text", "text": "hi"})[place]
    model().generate([messages])
    await model().agenerate([messages])
    model().batch([messages])
    assert len(ernie_server.requests) == 3
    for request in ernie_server.requests:
        assert "hi" in str(request.body["messages"])


EMPTY_BLOCKS = {
    "v0 file without data": ({"type": "file", "source_type": "base64"}, "has neither data"),
    "v0 image without an address": ({"type": "image", "source_type": "url"}, "has neither data"),
    "v0 image by id": (
        {"type": "image", "source_type": "id", "id": "file-1"},
        "has only a file id, which cannot be sent",
    ),
    "v1 image by id": ({"type": "image", "file_id": "file-1"}, "a file id, which cannot be sent"),
    "type that is a list": ({"type": ["image"]}, "is not supported"),
}


@CALLS
@pytest.mark.parametrize(("block", "why"), EMPTY_BLOCKS.values(), ids=EMPTY_BLOCKS)
async def test_blocks_without_content_raise_bad_request(model, ernie_server, block, why, method):
    with pytest.raises(BadRequestError, match=why):
        await call_model(model(model=VISION), [HumanMessage([block])], method)
    assert ernie_server.requests == []


# The API's own limits

LIMITED_FIELDS = {
    "enable_thinking": (TEXT_MODEL, False),
    "thinking_budget": (TEXT_MODEL, 200),
    "provider": (TEXT_MODEL, "auto"),
    "normalize_tool_schemas": (TEXT_MODEL, True),
    "prediction": (FIVE, {"type": "content", "content": "x"}),
    "max_completion_tokens": (FIVE, 9),
    "n": (TEXT_MODEL, 2),
}


@pytest.mark.parametrize(("field", "case"), LIMITED_FIELDS.items(), ids=LIMITED_FIELDS)
@pytest.mark.filterwarnings("ignore:'n' is not a setting")
def test_the_api_rejects_fields_that_self_hosted_servers_get(
    model, api_model, ernie_server, field, case
):
    name, value = case
    ernie_server.reply("a")
    model(model=name).generate([[HumanMessage("hi")]], **{field: value})
    assert ernie_server.last_request.body[field] == value
    if "max_" not in field:  # it is renamed
        with pytest.raises(BadRequestError, match=rf"{name} does not take {field}|n must be 1"):
            api_model(model=name).invoke("hi", **{field: value})
        assert len(ernie_server.requests) == 1


@pytest.mark.parametrize(("choice", "sent"), [("any", "required"), ("weather", NAMED)])
def test_self_hosted_servers_get_a_forced_choice(model, ernie_server, choice, sent):
    model(model=THINKING).bind_tools([weather], tool_choice=choice).invoke("hi")
    assert ernie_server.last_request.body["tool_choice"] == sent


WARNING = 'tool_choice is sent as "auto"'


@CALLS
async def test_a_forced_choice_becomes_auto_with_one_warning(api_model, ernie_server, method):
    llm = api_model(model=THINKING)
    bound = llm.bind_tools([weather], tool_choice="any")
    with pytest.warns(UserWarning, match=WARNING):
        await call_model(bound, "hi", method)
    await call_model(bound.bind(max_retries=0, stream_usage=False), "hi", method)
    llm.temperature = 0.5
    options = {"tools": [weather], "tool_choice": "weather", "client_request_id": "mine"}
    await call_model(llm, "hi", method, **options)
    assert [each.body["tool_choice"] for each in ernie_server.requests] == ["auto"] * 3
    with pytest.warns(UserWarning, match=WARNING):  # another instance
        await call_model(
            api_model(model=THINKING).bind_tools([weather], tool_choice="any"), "hi", method
        )


def test_there_is_one_warning_across_threads(api_model, ernie_server):
    llm = api_model(model=THINKING)
    bound = llm.bind(tools=[weather], tool_choice="any", max_retries=0)
    start = threading.Barrier(8)

    def call_together(_):
        start.wait()
        return bound.invoke("hi")

    with warnings.catch_warnings(record=True) as caught, ThreadPoolExecutor(8) as pool:
        warnings.simplefilter("always")
        assert len(list(pool.map(call_together, range(8)))) == 8
    assert [str(each.message) for each in caught if WARNING in str(each.message)] != []
    assert len(caught) == 1


def test_a_warning_does_not_change_the_model(api_model, ernie_server):
    llm, untouched = api_model(model=THINKING), api_model(model=THINKING)
    clients = ("http_client", "http_async_client")
    fresh = untouched.model_copy(update={name: getattr(llm, name) for name in clients})
    with pytest.warns(UserWarning, match=WARNING):
        llm.invoke("hi", tools=[weather], tool_choice="any")
    assert llm == fresh
    assert repr(llm) == repr(fresh)
    assert dumps(llm) == dumps(fresh)
    assert llm.model_dump() == fresh.model_dump()
    assert llm._get_llm_string() == fresh._get_llm_string()
    without_clients = llm.model_copy(update=dict.fromkeys(clients))
    for other in (llm.model_copy(), pickle.loads(pickle.dumps(without_clients))):
        with pytest.warns(UserWarning, match="anew"):
            other.warn_once("tool_choice", "anew")


def test_a_forced_choice_is_sent_if_thinking_is_disabled(api_model, ernie_server):
    llm = api_model(model=FIVE, enable_thinking=False)
    llm.bind_tools([weather], tool_choice="any").invoke("hi")
    assert ernie_server.last_request.body["tool_choice"] == "required"
    with pytest.warns(UserWarning, match="enable_thinking=False to force a call"):
        api_model(model=FIVE).bind_tools([weather], tool_choice="any").invoke("hi")


def test_each_field_that_is_left_out_has_its_own_warning(api_model, ernie_server):
    llm = api_model(model=THINKING)
    tools = [{**ANTHROPIC, "cache_control": CACHE_CONTROL}]
    cached = [HumanMessage([text("a", cache_control=CACHE_CONTROL)])]
    with pytest.warns(UserWarning, match="is ") as caught:
        llm.invoke(cached, tools=tools, tool_choice="any")
    assert sorted(str(each.message).split(" is ")[0] for each in caught) == [
        "cache_control",
        "tool_choice",
    ]
    llm.invoke(cached, tools=tools, tool_choice="any")
    with pytest.warns(UserWarning, match="max_completion_tokens=9 is not sent"):
        api_model(model=FIVE).invoke("hi", max_tokens=5, max_completion_tokens=9)
    assert ernie_server.last_request.body["max_tokens"] == 5
    api_model(model=FIVE).invoke("hi", max_completion_tokens=9)
    assert ernie_server.last_request.body["max_tokens"] == 9
    assert ernie_server.last_request.ignored == []
