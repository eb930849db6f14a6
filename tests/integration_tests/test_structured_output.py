import asyncio
import json
from typing import Annotated, Literal

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import tool
from langchain_core.utils.function_calling import convert_to_json_schema
from pydantic import BaseModel, Field
from pydantic.v1 import BaseModel as BaseModelV1
from typing_extensions import TypedDict

from langchain_aimlernie import ChatAimlErnie
from langchain_aimlernie.errors import RefusalError, StructuredOutputError

METHODS = ("json_schema", "function_calling", "json_mode")


class Joke(BaseModel):
    """Joke to tell user."""

    setup: str = Field(description="question to set up a joke")
    punchline: str = Field(description="answer to resolve the joke")


class JokeV1(BaseModelV1):
    """Joke to tell user."""

    setup: str
    punchline: str


class JokeDict(TypedDict):
    """Joke to tell user."""

    setup: Annotated[str, ..., "question to set up a joke"]
    punchline: Annotated[str | None, None, "answer to resolve the joke"]


class Basket(BaseModel):
    jokes: list[Joke]
    mood: Literal["dry", "silly"]
    next: "Basket | None" = None


JOKE = {"setup": "为什么猫坐在键盘上?", "punchline": "To keep an eye on the mouse."}
TEXT = json.dumps(JOKE, ensure_ascii=False)


@tool
def look_up(word: str) -> str:
    """Look up a word in the dictionary."""
    return f"{word} is a word"


@pytest.fixture
async def model(ernie_server):
    made = ChatAimlErnie(
        api_key=ernie_server.api_key, base_url=ernie_server.base_url, max_retries=0
    )
    with made:
        async with made:
            yield made
    assert ernie_server.violations == []
    assert [path for request in ernie_server.requests for path in request.ignored] == []
    assert ernie_server.pending == 0


def as_reply(method, text=TEXT, **more):
    if method == "function_calling":
        return {"tool_calls": [{"name": "Joke", "args": text}], **more}
    return {"text": text, **more}


# With what the server makes up itself


@pytest.mark.parametrize("method", ["auto", *METHODS])
@pytest.mark.parametrize("schema", [Joke, JokeV1, JokeDict, Basket, Joke.model_json_schema()])
async def test_every_schema_and_method_is_answered(model, schema, method):
    chain = model.with_structured_output(schema, method=method)
    expected = schema if isinstance(schema, type) and schema is not JokeDict else dict
    question = "Tell me a joke about cats."
    answers = [
        chain.invoke(question),
        await chain.ainvoke(question),
        list(chain.stream(question))[-1],
        [part async for part in chain.astream(question)][-1],
    ]
    assert all(isinstance(answer, expected) for answer in answers)
    assert all(answer == answers[0] for answer in answers)


@pytest.mark.parametrize(
    "name",
    ["baidu/ernie-4.5-21b-a3b-thinking", "baidu/ernie-5.0", "baidu/ernie-4.5-vl-28b-a3b"],
)
@pytest.mark.parametrize("method", METHODS)
def test_every_family_takes_every_method(model, name, method):
    chain = model.with_structured_output(Joke, method=method, model=name)
    assert isinstance(chain.invoke("Tell me a joke; answer with Joke."), Joke)


@pytest.mark.parametrize("strict", [None, True, False])
@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_strict_is_sent_where_it_was_said(model, ernie_server, method, strict):
    model.with_structured_output(Joke, method=method, strict=strict).invoke("a joke")
    body = ernie_server.last_request.body
    told = (
        body["response_format"]["json_schema"]
        if method == "json_schema"
        else body["tools"][0]["function"]
    )
    assert told.get("strict") is strict


def test_auto_uses_the_api_s_own_structured_output(model, ernie_server):
    model.with_structured_output(Joke).invoke("a joke")
    assert ernie_server.last_request.body["response_format"]["type"] == "json_schema"


def test_function_calling_forces_the_tool(model, ernie_server):
    model.with_structured_output(Joke, method="function_calling").invoke("a joke")
    body = ernie_server.last_request.body
    assert body["tool_choice"] == {"type": "function", "function": {"name": "Joke"}}
    assert body["parallel_tool_calls"] is False


def test_json_mode_sends_the_schema_in_the_system_message(model, ernie_server):
    chain = model.with_structured_output(Joke, method="json_mode")
    given = [SystemMessage("Be kind."), HumanMessage("a joke")]
    chain.invoke(given)
    body = ernie_server.last_request.body
    assert body["response_format"] == {"type": "json_object"}
    system, human = body["messages"]
    assert system["content"].startswith("Be kind.\n\n")
    assert '"punchline"' in system["content"]
    assert human == {"role": "user", "content": "a joke"}
    assert given == [SystemMessage("Be kind."), HumanMessage("a joke")]


def test_json_mode_goes_without_a_schema(model, ernie_server):
    assert isinstance(model.with_structured_output(method="json_mode").invoke("JSON!"), dict)
    assert "JSON" in ernie_server.last_request.body["messages"][0]["content"]


def test_a_prompt_before_and_settings_after_work_as_in_any_chain(model, ernie_server):
    prompt = ChatPromptTemplate.from_messages([("human", "a joke about {what}")])
    for method in METHODS:
        chain = prompt | model.with_structured_output(Joke, method=method, seed=7).bind(top_p=0.5)
        assert isinstance(chain.invoke({"what": "cats"}), Joke)
        assert isinstance(list(chain.stream({"what": "cats"}))[-1], Joke)
        body = ernie_server.last_request.body
        assert (body["seed"], body["top_p"]) == (7, 0.5)


class Tracer(BaseCallbackHandler):
    def __init__(self):
        self.schemas = []

    def on_chat_model_start(self, serialized, messages, *, options=None, **kwargs):
        self.schemas.append(options["ls_structured_output_format"]["schema"])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("schema", [Joke, JokeV1, Joke.model_json_schema()])
async def test_tracers_are_told_the_schema_and_the_wire_is_not(model, ernie_server, schema, method):
    tracer = Tracer()
    chain = model.with_structured_output(schema, method=method, strict=None)
    chain.invoke("a joke", config={"callbacks": [tracer]})
    async for _ in chain.astream("a joke", config={"callbacks": [tracer]}):
        pass
    assert tracer.schemas == [convert_to_json_schema(schema)] * 2
    assert not any("ls_structured_output_format" in each.body for each in ernie_server.requests)


@pytest.mark.parametrize("method", METHODS)
async def test_partial_objects_are_events_of_the_parser(model, ernie_server, method):
    ernie_server.reply(**as_reply(method))
    chain = model.with_structured_output(Joke.model_json_schema(), method=method)
    parsed = [
        event["data"]["chunk"]
        async for event in chain.astream_events("a joke", version="v2")
        if event["event"] == "on_parser_stream"
    ]
    assert len(parsed) > 5
    assert parsed[-1] == JOKE


@pytest.mark.parametrize("options", [{}, {"method": "json_mode"}, {"retry": True}])
async def test_a_stream_that_is_broken_off_gives_its_connection_back(model, options):
    one = model.model_copy(update={"max_connections": 1, "timeout": 5})
    chain = one.with_structured_output(Joke.model_json_schema(), **options)
    with one:
        async with one:
            for _ in range(3):
                async for _part in chain.astream("a joke"):
                    break
                for _part in chain.stream("a joke"):
                    break
            assert chain.invoke("a joke") == await chain.ainvoke("a joke")


# With scripted answers


@pytest.mark.parametrize("method", METHODS)
async def test_partial_dicts_arrive_token_by_token(model, ernie_server, method):
    ernie_server.reply(**as_reply(method), times=2)
    chain = model.with_structured_output(Joke.model_json_schema(), method=method)
    parts = list(chain.stream("a joke"))
    assert [part async for part in chain.astream("a joke")] == parts
    assert len(parts) > 5
    assert all(JOKE["setup"].startswith(part.get("setup", "")) for part in parts)
    assert parts[-1] == JOKE


@pytest.mark.parametrize("method", METHODS)
async def test_a_cut_answer_is_an_error_however_it_is_read(model, ernie_server, method):
    reply = as_reply(method, text=TEXT[:-12], finish_reason="length")
    ernie_server.reply(**reply, times=4)
    chain = model.with_structured_output(Joke, method=method)
    streaming = model.model_copy(update={"streaming": True})
    ways = (
        lambda: chain.invoke("a joke"),
        lambda: list(chain.stream("a joke")),
        lambda: asyncio.run(chain.ainvoke("a joke")),
        lambda: streaming.with_structured_output(Joke, method=method).invoke("a joke"),
    )
    for way in ways:
        with pytest.raises(StructuredOutputError, match="raise max_tokens") as caught:
            await asyncio.to_thread(way)
        assert caught.value.finish_reason == "length"
        assert isinstance(caught.value.ai_message, AIMessage)
        assert caught.value.ai_message.usage_metadata["output_tokens"] > 0


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ({"text": "I would rather not."}, "no valid JSON"),
        ({"text": "", "refusal": "I will not."}, "refused: 'I will not.'"),
        ({"text": TEXT[:20], "finish_reason": "content_filter"}, "content filter"),
        ({"text": '{"setup": "a"}'}, "punchline: Field required"),
    ],
)
def test_an_answer_that_cannot_be_used_is_an_error_or_a_parsing_error(
    model, ernie_server, reply, reason
):
    ernie_server.reply(**reply, times=3)
    with pytest.raises(StructuredOutputError, match=reason) as caught:
        model.with_structured_output(Joke).invoke("a joke")
    is_refused = "refusal" in reply or reply.get("finish_reason") == "content_filter"
    assert isinstance(caught.value, RefusalError) is is_refused
    with pytest.raises(StructuredOutputError, match=reason):
        list(model.with_structured_output(Joke).stream("a joke"))
    result = model.with_structured_output(Joke, include_raw=True).invoke("a joke")
    assert isinstance(result["raw"], AIMessage)
    assert result["parsed"] is None
    assert isinstance(result["parsing_error"], StructuredOutputError)


@pytest.mark.parametrize(
    "reply",
    [
        {"text": "No tool for me."},
        {"tool_calls": [{"name": "Joke", "args": '{"setup": "a", }'}]},
        {"tool_calls": [{"name": "Another", "args": {}}]},
        {"tool_calls": [{"name": "Joke", "args": {"setup": "a"}}]},
    ],
)
async def test_a_call_that_is_missing_or_broken_is_never_none(model, ernie_server, reply):
    ernie_server.reply(**reply, times=3)
    chain = model.with_structured_output(Joke, method="function_calling")
    with pytest.raises(StructuredOutputError):
        await chain.ainvoke("a joke")
    with pytest.raises(StructuredOutputError):
        list(chain.stream("a joke"))
    raw = model.with_structured_output(Joke, method="function_calling", include_raw=True)
    assert isinstance(raw.invoke("a joke")["parsing_error"], StructuredOutputError)


def test_thoughts_and_fences_around_the_answer_do_no_harm(model, ernie_server):
    fenced = f"```json\n{TEXT}\n```"
    for text in (f"<think>{{}}</think>\n{fenced}", f"Sure:\n{fenced}\nEnjoy!"):
        ernie_server.reply(text, times=2)
        chain = model.with_structured_output(Joke)
        assert chain.invoke("a joke") == Joke(**JOKE)
        assert list(chain.stream("a joke"))[-1] == Joke(**JOKE)


def test_the_first_call_with_the_name_is_the_answer(model, ernie_server):
    calls = [
        {"name": "Another", "args": {}},
        {"name": "Joke", "args": JOKE},
        {"name": "Joke", "args": {"setup": "x", "punchline": "y"}},
    ]
    ernie_server.reply(tool_calls=calls, times=2)
    chain = model.with_structured_output(Joke, method="function_calling")
    assert chain.invoke("a joke") == Joke(**JOKE)
    assert list(chain.stream("a joke"))[-1] == Joke(**JOKE)


def test_include_raw_streams_the_message_and_ends_with_the_object(model, ernie_server):
    ernie_server.reply(TEXT)
    *raws, last = model.with_structured_output(Joke, include_raw=True).stream("a joke")
    total = raws[0]
    for part in raws[1:]:
        total += part
    assert total["raw"].text == TEXT
    assert total["raw"].usage_metadata["total_tokens"] > 0
    assert last == {"parsed": Joke(**JOKE), "parsing_error": None}


# Asking again


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("broken", ['{"setup": "a"}', '{"setup": '])
def test_the_second_request_shows_the_answer_and_its_error(model, ernie_server, method, broken):
    ernie_server.reply(**as_reply(method, broken))
    ernie_server.reply(**as_reply(method))
    chain = model.with_structured_output(Joke, method=method, retry=True)
    assert chain.invoke("a joke") == Joke(**JOKE)
    first, second = (request.body["messages"] for request in ernie_server.requests)
    assert second[: len(first)] == first
    answer, correction = second[len(first) :]
    assert answer["role"] == "assistant"
    assert "Your answer could not be used." in correction["content"]
    if method == "function_calling":
        assert correction["role"] == "tool"
        assert correction["tool_call_id"] == answer["tool_calls"][0]["id"]
    else:
        assert (answer["content"], correction["role"]) == (broken, "user")


async def test_a_stream_asks_again_before_it_has_given_anything(model, ernie_server):
    ernie_server.reply("No.")
    ernie_server.reply(TEXT)
    chain = model.with_structured_output(Joke, retry=True)
    parts = [part async for part in chain.astream("a joke")]
    assert parts[-1] == Joke(**JOKE)
    assert len(ernie_server.requests) == 2


# Tools and agents


def test_tools_beside_the_schema_may_be_called(model, ernie_server):
    chain = model.with_structured_output(Joke, tools=[look_up], include_raw=True)
    ernie_server.reply(tool_calls=[{"name": "look_up", "args": {"word": "cat"}}])
    result = chain.invoke("look up cat")
    assert [call["name"] for call in result["raw"].tool_calls] == ["look_up"]
    assert (result["parsed"], result["parsing_error"]) == (None, None)
    ernie_server.reply(TEXT)
    assert chain.invoke("a joke")["parsed"] == Joke(**JOKE)
    body = ernie_server.last_request.body
    assert body["response_format"]["json_schema"]["name"] == "Joke"
    assert [each["function"]["name"] for each in body["tools"]] == ["look_up"]


@pytest.mark.parametrize("response_format", [Joke, ProviderStrategy(Joke), ToolStrategy(Joke)])
def test_agents_get_their_structured_response(model, response_format):
    agent = create_agent(model, tools=[look_up], response_format=response_format)
    result = agent.invoke({"messages": [("human", "Tell me a joke, as Joke.")]})
    assert isinstance(result["structured_response"], Joke)


@pytest.mark.parametrize(
    "response_format",
    [Joke, JokeDict, Joke.model_json_schema(), {"type": "json_object"}],
)
def test_response_format_takes_schemas_everywhere(model, ernie_server, response_format):
    model.invoke("a joke in JSON", response_format=response_format)
    model.bind(response_format=response_format).invoke("a joke in JSON")
    model.bind_tools([look_up], response_format=response_format).invoke("a joke in JSON")
    sent = [request.body["response_format"] for request in ernie_server.requests]
    assert sent[0] == sent[1] == sent[2]
    kind = "json_object" if response_format == {"type": "json_object"} else "json_schema"
    assert sent[0]["type"] == kind


def test_only_the_schema_s_own_call_is_streamed(model, ernie_server):
    other = {"name": "look_up", "args": '{"setup": "none", "punchline": "none"}'}
    own = {"name": "Joke", "args": TEXT}
    ernie_server.reply(tool_calls=[other, own], chunk_size=40)
    schema = convert_to_json_schema(Joke)
    items = list(model.with_structured_output(schema, method="function_calling").stream("A joke."))
    assert items[-1] == JOKE
    assert not [item for item in items if "none" in item.values()]


def test_a_partial_object_that_stops_being_valid_is_not_none(model, ernie_server):
    class Short(BaseModel):
        word: str = Field("", max_length=3)

    ernie_server.reply('{"word": "abcdefgh"}', chunk_size=60)
    items = []
    with pytest.raises(StructuredOutputError, match="does not fit Short"):
        items.extend(model.with_structured_output(Short, method="json_mode").stream("A word."))
    assert None not in items


@pytest.mark.parametrize("include_raw", [False, True])
def test_a_filtered_completion_is_in_the_error(model, ernie_server, include_raw):
    ernie_server.reply("Something bad", finish_reason="content_filter")
    structured = model.with_structured_output(Joke, include_raw=include_raw)
    if include_raw:
        error = structured.invoke("Tell a joke.")["parsing_error"]
    else:
        with pytest.raises(RefusalError) as caught:
            structured.invoke("Tell a joke.")
        error = caught.value
    assert (error.llm_output, error.finish_reason) == ("Something bad", "content_filter")


@pytest.mark.parametrize("method", METHODS)
def test_a_response_format_beside_the_schema_is_refused(model, ernie_server, method):
    with pytest.raises(ValueError, match="response_format"):
        model.with_structured_output(Joke, method=method, response_format={"type": "text"})
    assert ernie_server.requests == []
