import json
import pickle
from itertools import pairwise
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel, ModelProfile
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableSequence
from langchain_core.tools import tool
from pydantic import BaseModel, Field, RootModel
from pydantic.v1 import BaseModel as BaseModelV1
from typing_extensions import TypedDict

from langchain_aimlernie._structured.output import structured_output
from langchain_aimlernie._structured.schema import encode_response_format
from langchain_aimlernie.errors import StructuredOutputError

METHODS = ("json_schema", "function_calling", "json_mode")


class Joke(BaseModel):
    """Joke to tell user."""

    setup: str
    punchline: str


class JokeV1(BaseModelV1):
    setup: str
    punchline: str


class JokeDict(TypedDict):
    """Joke to tell user."""

    setup: str
    punchline: str


JOKE = {"setup": "Why do cats sit on keyboards?", "punchline": "To keep an eye on the mouse."}
SCHEMA = Joke.model_json_schema()
FULL_PROFILE = ModelProfile(structured_output=True, tool_calling=True)


@tool
def look_up(word: str) -> str:
    """Look up a word."""
    return word


class Scripted(BaseChatModel):
    """A chat model that gives the answers it is made of, whole or in small pieces."""

    answers: list[Any]
    heard: list[Any] = Field(default_factory=list)
    told: list[Any] = Field(default_factory=list)
    temperature: float | None = None
    parallel_tool_calls: bool | None = None
    streams: bool = True

    @property
    def _llm_type(self):
        return "scripted"

    def bind_tools(self, tools, **kwargs):
        return self.bind(tools=tools, **kwargs)

    def _next(self, messages, kwargs):
        self.heard.append(messages)
        self.told.append(kwargs)
        return self.answers.pop(0)

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        return ChatResult(generations=[ChatGeneration(message=self._next(messages, kwargs))])

    def _stream(self, messages, stop=None, run_manager=None, **kwargs):
        for chunk in chunks_of(self._next(messages, kwargs)):
            yield ChatGenerationChunk(message=chunk)

    def _should_stream(self, **kwargs):
        return self.streams and super()._should_stream(**kwargs)


def chunks_of(answer):
    text = answer.content
    for start in range(0, len(text), 7):
        yield AIMessageChunk(text[start : start + 7])
    for index, call in enumerate([*answer.tool_calls, *answer.invalid_tool_calls]):
        arguments = call["args"] if isinstance(call["args"], str) else json.dumps(call["args"])
        for start in range(0, len(arguments), 7):
            yield AIMessageChunk(
                "",
                tool_call_chunks=[
                    {
                        "name": None if start else call["name"],
                        "id": None if start else call["id"],
                        "args": arguments[start : start + 7],
                        "index": index,
                    }
                ],
            )
    yield AIMessageChunk(
        "",
        response_metadata=answer.response_metadata,
        additional_kwargs=answer.additional_kwargs,
        chunk_position="last",
    )


def said(text, reason="stop", **more):
    return AIMessage(text, response_metadata={"finish_reason": reason}, **more)


def called(*calls, text="", reason="tool_calls"):
    """A message whose calls are (name, arguments); arguments that are text are invalid."""
    ids = [f"call_{number}" for number in range(len(calls))]
    both = list(zip(ids, calls, strict=True))
    return AIMessage(
        text,
        tool_calls=[
            {"id": i, "name": n, "args": a, "type": "tool_call"}
            for i, (n, a) in both
            if isinstance(a, dict)
        ],
        invalid_tool_calls=[
            {"id": i, "name": n, "args": a, "error": "broken", "type": "invalid_tool_call"}
            for i, (n, a) in both
            if isinstance(a, str)
        ],
        response_metadata={"finish_reason": reason},
    )


def answering(method, value=JOKE, **more):
    if method == "function_calling":
        return called(("Joke", value))
    return said(json.dumps(value), **more)


def scripted(*answers, profile=FULL_PROFILE, **settings):
    return Scripted(answers=list(answers), profile=profile, **settings)


async def drain(stream, into):
    async for part in stream:
        into.append(part)


# The happy path


@pytest.mark.parametrize("method", ["auto", *METHODS])
@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (Joke, Joke(**JOKE)),
        (JokeV1, JokeV1(**JOKE)),
        (JokeDict, JOKE),
        (SCHEMA, JOKE),
        ({"name": "Joke", "schema": SCHEMA}, JOKE),
    ],
)
async def test_the_answer_is_what_was_asked_for(method, schema, expected):
    name = "JokeV1" if schema is JokeV1 else "JokeDict" if schema is JokeDict else "Joke"
    answer = answering(method) if method != "function_calling" else called((name, JOKE))
    model = scripted(answer, answer, answer, answer)
    chain = structured_output(model, schema, method=method)
    assert chain.invoke("a joke") == expected
    assert await chain.ainvoke("a joke") == expected
    assert list(chain.stream("a joke"))[-1] == expected
    assert [part async for part in chain.astream("a joke")][-1] == expected


@pytest.mark.parametrize("method", METHODS)
def test_dicts_are_streamed_as_they_grow(method):
    chain = structured_output(scripted(answering(method)), SCHEMA, method=method)
    parts = list(chain.stream("a joke"))
    assert len(parts) > 10
    assert len({json.dumps(part) for part in parts}) == len(parts)
    for shorter, longer in pairwise(parts):
        assert all(longer[key].startswith(text) for key, text in shorter.items())
    assert parts[-1] == JOKE


@pytest.mark.parametrize("method", METHODS)
def test_instances_are_streamed_once_they_are_valid(method):
    chain = structured_output(scripted(answering(method)), Joke, method=method)
    parts = list(chain.stream("a joke"))
    assert all(isinstance(part, Joke) for part in parts)
    assert {part.setup for part in parts} == {JOKE["setup"]}
    assert len(parts) > 2
    assert parts[-1] == Joke(**JOKE)


@pytest.mark.parametrize("method", METHODS)
def test_a_model_that_does_not_stream_gives_the_answer_in_one_part(method):
    chain = structured_output(scripted(answering(method), streams=False), SCHEMA, method=method)
    assert list(chain.stream("a joke")) == [JOKE]


def test_json_mode_takes_any_json_without_a_schema():
    model = scripted(said('```json\n{"a": 1}\n```'), said('[{"a": 1}]'), said('{"a": 1}'))
    chain = structured_output(model, method="json_mode")
    assert chain.invoke("json") == {"a": 1}
    assert chain.invoke("json") == [{"a": 1}]
    assert structured_output(model).invoke("json") == {"a": 1}
    assert model.told[2]["response_format"] == {"type": "json_object"}


def test_a_list_may_be_the_answer():
    class Names(RootModel[list[str]]):
        pass

    model = scripted(said('The names:\n["a", "b"]'), said("[1]: see"))
    chain = structured_output(model, Names)
    assert list(chain.stream("names"))[-1] == Names(["a", "b"])
    with pytest.raises(StructuredOutputError, match="does not fit Names"):
        chain.invoke("names")


def test_the_first_call_that_has_the_name_is_the_answer():
    other = {"setup": "s", "punchline": "p"}
    answer = called(("look_up", {"word": "cat"}), ("Joke", JOKE), ("Joke", other))
    model = scripted(answer, answer)
    chain = structured_output(model, Joke, method="function_calling")
    assert chain.invoke("a joke") == Joke(**JOKE)
    assert list(chain.stream("a joke"))[-1] == Joke(**JOKE)


def test_a_plain_prefix_of_prose_thought_and_fence_does_no_harm():
    text = f'<think>{{"setup": "no"}}</think>Here:\n```json\n{json.dumps(JOKE)}\n```\nEnjoy!'
    model = scripted(said(text), said(text))
    chain = structured_output(model, SCHEMA)
    assert chain.invoke("a joke") == JOKE
    parts = list(chain.stream("a joke"))
    assert len(parts) > 5
    assert all(JOKE["setup"].startswith(part.get("setup", "")) for part in parts)


def test_of_several_objects_the_last_that_fits_is_the_answer():
    other = json.dumps({"setup": "s", "punchline": "p"})
    text = f'An example is {other}. Mine: {json.dumps(JOKE)}, and not {{"setup": "x"}}.'
    assert structured_output(scripted(said(text)), Joke).invoke("a joke") == Joke(**JOKE)


def test_text_in_content_blocks_is_read():
    answer = AIMessage(
        [{"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": json.dumps(JOKE)}]
    )
    assert structured_output(scripted(answer), Joke).invoke("a joke") == Joke(**JOKE)


# What is sent


def test_json_schema_binds_the_response_format():
    model = scripted(answering("json_schema"))
    structured_output(model, Joke, strict=True, temperature=0.5, stop=["x"]).invoke("a joke")
    assert model.told == [
        {"response_format": encode_response_format(Joke, True), "temperature": 0.5}
    ]


def test_function_calling_binds_one_tool_and_forces_it():
    model = scripted(answering("function_calling"))
    structured_output(model, Joke, method="function_calling", strict=False).invoke("a joke")
    (told,) = model.told
    (function,) = told.pop("tools")
    assert told == {"tool_choice": "Joke", "parallel_tool_calls": False}
    assert function["function"]["name"] == "Joke"
    assert function["function"]["strict"] is False
    assert set(function["function"]["parameters"]["properties"]) == {"setup", "punchline"}


def test_a_keyword_wins_over_what_function_calling_would_send():
    model = scripted(answering("function_calling"))
    chain = structured_output(model, Joke, method="function_calling", tool_choice="auto")
    chain.invoke("a joke")
    assert model.told[0]["tool_choice"] == "auto"


def test_json_mode_puts_the_schema_into_a_new_system_message():
    model = scripted(answering("json_mode"))
    structured_output(model, Joke, method="json_mode").invoke("a joke")
    system, human = model.heard[0]
    assert isinstance(system, SystemMessage)
    assert human == HumanMessage("a joke")
    assert "Joke to tell user." in system.content
    described = json.loads(system.content[system.content.index('{"') :])
    assert described == encode_response_format(Joke)["json_schema"]["schema"]


@pytest.mark.parametrize("content", ["Be kind.", [{"type": "text", "text": "Be kind."}]])
def test_json_mode_adds_to_the_system_message_that_is_there(content):
    model = scripted(answering("json_mode"))
    given = [SystemMessage(content, id="s1"), HumanMessage("a joke")]
    before = [message.model_copy(deep=True) for message in given]
    structured_output(model, Joke, method="json_mode").invoke(given)
    system, human = model.heard[0]
    assert (system.id, human) == ("s1", given[1])
    assert system.text.startswith("Be kind.")
    assert "JSON Schema" in system.text
    assert given == before


def test_every_form_of_input_reaches_the_model_in_json_mode():
    model = scripted(*[answering("json_mode")] * 3)
    chain = structured_output(model, Joke, method="json_mode")
    (ChatPromptTemplate.from_messages([("human", "tell {what}")]) | chain).invoke({"what": "one"})
    chain.invoke([("human", "tell one")])
    list(
        (ChatPromptTemplate.from_messages([("human", "tell {what}")]) | chain).stream(
            {"what": "one"}
        )
    )
    assert [messages[1].content for messages in model.heard] == ["tell one"] * 3


class Tracer(BaseCallbackHandler):
    def __init__(self):
        self.options = []

    def on_chat_model_start(self, serialized, messages, *, options=None, **kwargs):
        self.options.append(options)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("schema", [Joke, SCHEMA, JokeDict])
def test_tracers_learn_method_and_schema(method, schema):
    tracer = Tracer()
    answer = called(("JokeDict" if schema is JokeDict else "Joke", JOKE), text=json.dumps(JOKE))
    chain = structured_output(scripted(answer), schema, method=method)
    chain.invoke("a joke", config={"callbacks": [tracer]})
    (options,) = tracer.options
    traced = options["ls_structured_output_format"]
    assert traced["kwargs"] == {"method": method, "strict": None}
    assert set(traced["schema"]["properties"]) == {"setup", "punchline"}
    assert traced["schema"]["title"] == ("JokeDict" if schema is JokeDict else "Joke")


# Options


@pytest.mark.parametrize(
    ("profile", "sent"),
    [
        (ModelProfile(structured_output=True, tool_calling=True), "response_format"),
        (ModelProfile(structured_output=False, tool_calling=True), "tools"),
        (ModelProfile(structured_output=False, tool_calling=False), "response_format"),
        (None, "response_format"),
    ],
)
def test_auto_follows_the_profile(profile, sent):
    """Without a profile it begins with what enforces the schema."""
    model = scripted(called(("Joke", JOKE), text=json.dumps(JOKE)), profile=profile)
    assert structured_output(model, Joke).invoke("a joke") == Joke(**JOKE)
    assert sent in model.told[0]
    by_prompt = isinstance(model.heard[0][0], SystemMessage)
    assert by_prompt is (profile is not None and not any(profile.values()))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"method": "magic"}, "method='magic' is none of 'auto', 'json_schema'"),
        ({"method": "json_mode", "strict": True}, "strict is no option of method='json_mode'"),
        ({"schema": None, "method": "json_schema"}, "needs a schema"),
        ({"schema": None, "method": "function_calling"}, "needs a schema"),
        ({"tools": [look_up], "method": "json_mode"}, "tools go with method='json_schema' only"),
        ({"tools": [look_up], "method": "function_calling"}, "tools go with"),
        ({"retry": 4}, "retry=4 must be a boolean, or a number from 0 to 3"),
        ({"retry": -1}, "retry=-1"),
        ({"retry": "yes"}, "retry='yes'"),
        ({"include_row": True}, "with_structured_output got include_row"),
        ({"response_format": {"type": "text"}}, "with_structured_output got response_format"),
    ],
)
def test_options_that_cannot_work_are_refused_at_once(options, reason):
    options = {"schema": Joke, **options}
    with pytest.raises(ValueError, match=reason):
        structured_output(scripted(), options.pop("schema"), **options)


@pytest.mark.parametrize("method", METHODS)
def test_settings_can_be_bound_and_given_per_call(method):
    model = scripted(*[answering(method)] * 3)
    chain = structured_output(model, Joke, method=method)
    chain.bind(temperature=0.1).invoke("a joke")
    chain.invoke("a joke", temperature=0.2)
    list(chain.bind(temperature=0.3).with_retry().stream("a joke"))
    assert [told["temperature"] for told in model.told] == [0.1, 0.2, 0.3]


def test_batches_and_pickles_work_like_any_runnable():
    model = scripted(*[answering("json_schema")] * 2)
    chain = structured_output(model, Joke)
    assert isinstance(chain, RunnableSequence)
    assert chain.batch(["a", "b"]) == [Joke(**JOKE)] * 2
    for method in METHODS:
        original = structured_output(scripted(answering(method)), Joke, method=method, retry=True)
        assert pickle.loads(pickle.dumps(original)).invoke("a joke") == Joke(**JOKE)


def test_the_output_type_is_the_schema():
    assert structured_output(scripted(), Joke).OutputType is Joke
    assert structured_output(scripted(), Joke, retry=True).OutputType is Joke
    assert structured_output(scripted(), SCHEMA).OutputType is dict
    assert structured_output(scripted(), Joke, include_raw=True).OutputType is dict
    assert structured_output(scripted(), Joke).get_output_jsonschema()["title"] == "Joke"


# What is no answer


BROKEN = [
    pytest.param(
        "json_schema",
        said("No idea."),
        "There is no valid JSON; the model answered 'No idea.'",
        id="prose",
    ),
    pytest.param("json_schema", said(""), "the model answered nothing", id="empty"),
    pytest.param("json_schema", said('{"setup": "Why'), "no valid JSON", id="broken"),
    pytest.param(
        "json_schema", said('{"setup": "a", "punc', "length"), "raise max_tokens", id="cut"
    ),
    pytest.param("json_schema", said('{"setup": "a"}'), "punchline: Field required", id="misfit"),
    pytest.param("json_schema", said("null"), "does not fit Joke", id="null"),
    pytest.param("json_schema", said(json.dumps([JOKE])), "does not fit Joke", id="list"),
    pytest.param(
        "json_schema",
        said("", additional_kwargs={"refusal": "I will not."}),
        "The model refused: 'I will not.'",
        id="refusal",
    ),
    pytest.param(
        "json_schema",
        AIMessage([{"type": "refusal", "refusal": "I will not."}]),
        "The model refused: 'I will not.'",
        id="refusal block",
    ),
    pytest.param(
        "json_schema",
        said(json.dumps(JOKE), "content_filter"),
        "stopped by the content filter",
        id="filtered",
    ),
    pytest.param("json_mode", said("Sorry."), "no valid JSON", id="json_mode prose"),
    pytest.param("json_mode", said("{}"), "setup: Field required", id="json_mode misfit"),
    pytest.param(
        "function_calling",
        said("Why not?"),
        "did not call Joke; it answered 'Why not\\?'",
        id="no call",
    ),
    pytest.param(
        "function_calling",
        called(("look_up", {"word": "cat"})),
        "did not call Joke; it called look_up",
        id="other call",
    ),
    pytest.param(
        "function_calling",
        called(("Joke", "{oops")),
        "arguments of the call of Joke are no JSON object",
        id="broken call",
    ),
    pytest.param(
        "function_calling",
        called(("Joke", {"setup": "a"})),
        "punchline: Field required",
        id="misfit call",
    ),
]


@pytest.mark.parametrize(("method", "answer", "reason"), BROKEN)
@pytest.mark.parametrize("schema", [Joke, SCHEMA])
async def test_no_answer_is_an_error_and_never_none(method, answer, reason, schema):
    if schema is SCHEMA and "Field required" in reason:
        reason = "'(punchline|setup)' is a required property"
    model = scripted(*[answer] * 3)
    chain = structured_output(model, schema, method=method)
    with pytest.raises(StructuredOutputError, match=reason) as caught:
        chain.invoke("a joke")
    assert caught.value.ai_message == answer
    assert caught.value.finish_reason == answer.response_metadata.get("finish_reason")
    assert isinstance(caught.value.llm_output, str)
    with pytest.raises(StructuredOutputError, match=reason):
        await chain.ainvoke("a joke")
    with pytest.raises(StructuredOutputError):
        await drain(chain.astream("a joke"), [])


@pytest.mark.parametrize(("method", "answer", "reason"), BROKEN)
async def test_include_raw_holds_the_error(method, answer, reason):
    model = scripted(*[answer] * 3)
    chain = structured_output(model, Joke, method=method, include_raw=True)
    for result in (chain.invoke("a joke"), await chain.ainvoke("a joke")):
        assert list(result) == ["raw", "parsed", "parsing_error"]
        assert (result["raw"], result["parsed"]) == (answer, None)
        assert isinstance(result["parsing_error"], StructuredOutputError)


@pytest.mark.parametrize("method", METHODS)
async def test_include_raw_gives_message_and_object(method):
    answer = answering(method)
    chain = structured_output(scripted(answer, answer), SCHEMA, method=method, include_raw=True)
    assert chain.invoke("a joke") == {"raw": answer, "parsed": JOKE, "parsing_error": None}
    parts = [part async for part in chain.astream("a joke")]
    assert [list(part) for part in parts[:-1]] == [["raw"]] * (len(parts) - 1)
    assert parts[-1] == {"parsed": JOKE, "parsing_error": None}
    total = parts[0]
    for part in parts[1:]:
        total += part
    assert set(total) == {"raw", "parsed", "parsing_error"}
    assert total["raw"].content == answer.content
    assert total["parsed"] == JOKE


def test_include_raw_streams_the_error_last():
    chain = structured_output(scripted(said('{"setup": "a"}')), Joke, include_raw=True)
    *_, last = chain.stream("a joke")
    assert last["parsed"] is None
    assert isinstance(last["parsing_error"], StructuredOutputError)


def test_a_partial_answer_is_given_before_the_error():
    chain = structured_output(scripted(said('{"setup": "Why", "punch', "length")), SCHEMA)
    parts = []
    with pytest.raises(StructuredOutputError, match="cut off by the token limit"):
        parts.extend(chain.stream("a joke"))
    assert parts[-1] == {"setup": "Why"}


def test_the_error_tells_the_cause_and_pickles():
    with pytest.raises(StructuredOutputError) as caught:
        structured_output(scripted(said('{"setup": 1}')), Joke).invoke("a joke")
    assert caught.value.__cause__.error_count() == 2
    assert "setup: Input should be a valid string; punchline: Field required" in str(caught.value)
    assert "finish_reason was 'stop'" in str(caught.value)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.ai_message) == (str(caught.value), caught.value.ai_message)


def test_an_empty_stream_is_an_error():
    parser = structured_output(scripted(), Joke).steps[-1]
    with pytest.raises(StructuredOutputError, match="answered nothing"):
        list(parser.transform(iter([])))


def test_the_parser_reads_bare_text_too():
    parser = structured_output(scripted(), Joke).steps[-1]
    assert parser.parse(json.dumps(JOKE)) == Joke(**JOKE)
    assert parser.invoke(json.dumps(JOKE)) == Joke(**JOKE)
    assert list(parser.transform(iter([json.dumps(JOKE)]))) == [Joke(**JOKE)]


# Tools beside the answer


def test_tools_go_out_beside_the_response_format():
    model = scripted(answering("json_schema"))
    chain = structured_output(model, Joke, tools=[look_up], strict=True, parallel_tool_calls=False)
    assert chain.invoke("a joke") == Joke(**JOKE)
    (told,) = model.told
    assert told == {
        "tools": [look_up],
        "response_format": encode_response_format(Joke, True),
        "strict": True,
        "parallel_tool_calls": False,
    }


async def test_a_call_of_another_tool_is_for_the_caller():
    answer = called(("look_up", {"word": "cat"}))
    model = scripted(answer, answer, answer)
    chain = structured_output(model, Joke, tools=[look_up], include_raw=True)
    assert chain.invoke("a joke") == {"raw": answer, "parsed": None, "parsing_error": None}
    *_, last = [part async for part in chain.astream("a joke")]
    assert last == {"parsed": None, "parsing_error": None}
    with pytest.raises(StructuredOutputError, match="called look_up instead of answering"):
        structured_output(model, Joke, tools=[look_up]).invoke("a joke")


# Asking again


@pytest.mark.parametrize("method", METHODS)
async def test_the_model_is_shown_its_error_and_asked_again(method):
    bad = answering(method, {"setup": "a"})
    good = answering(method)
    model = scripted(bad, good, bad, good)
    chain = structured_output(model, Joke, method=method, retry=True)
    assert chain.invoke("a joke") == Joke(**JOKE)
    assert await chain.ainvoke("a joke") == Joke(**JOKE)
    for asked_again in (model.heard[1], model.heard[3]):
        *first, answer, correction = asked_again
        assert first == model.heard[0]
        assert answer == bad
        assert "punchline: Field required" in correction.content
        if method == "function_calling":
            assert isinstance(correction, ToolMessage)
            assert (correction.tool_call_id, correction.status) == ("call_0", "error")
        else:
            assert isinstance(correction, HumanMessage)


def test_every_failed_call_gets_its_own_reply():
    bad = called(("look_up", {"word": "cat"}), ("Joke", "{oops"))
    model = scripted(bad, answering("function_calling"))
    structured_output(model, Joke, method="function_calling", retry=True).invoke("a joke")
    replies = [
        message.tool_call_id for message in model.heard[1] if isinstance(message, ToolMessage)
    ]
    assert replies == ["call_0", "call_1"]


def test_an_empty_answer_is_not_shown():
    model = scripted(said(""), answering("json_schema"))
    structured_output(model, Joke, retry=True).invoke("a joke")
    assert [type(message) for message in model.heard[1]] == [HumanMessage, HumanMessage]


def test_the_conversation_grows_with_every_try():
    model = scripted(said("no"), said("still no"), answering("json_schema"))
    structured_output(model, Joke, retry=2).invoke([("system", "Be kind."), ("human", "a joke")])
    assert [len(messages) for messages in model.heard] == [2, 4, 6]


async def test_the_last_error_is_raised_when_the_tries_are_used_up():
    model = scripted(*[said("no"), said("still no")] * 2)
    chain = structured_output(model, Joke, retry=True)
    with pytest.raises(StructuredOutputError, match="still no"):
        chain.invoke("a joke")
    with pytest.raises(StructuredOutputError, match="still no"):
        await chain.ainvoke("a joke")


async def test_include_raw_asks_again_too():
    good = answering("json_schema")
    model = scripted(said("no"), good, said("no"), said("no"))
    chain = structured_output(model, Joke, retry=True, include_raw=True)
    assert chain.invoke("a joke") == {"raw": good, "parsed": Joke(**JOKE), "parsing_error": None}
    failed = await chain.ainvoke("a joke")
    assert isinstance(failed["parsing_error"], StructuredOutputError)
    assert len(model.heard) == 4


@pytest.mark.parametrize(
    "refusal", [said("", additional_kwargs={"refusal": "No."}), said("", "content_filter")]
)
def test_a_refusal_is_not_asked_again(refusal):
    model = scripted(refusal)
    with pytest.raises(StructuredOutputError):
        structured_output(model, Joke, retry=3).invoke("a joke")
    assert len(model.heard) == 1


async def test_a_stream_asks_again_while_it_has_given_nothing():
    model = scripted(*[said("no"), said(json.dumps({"setup": "a"})), answering("json_schema")] * 2)
    chain = structured_output(model, Joke, retry=2)
    assert list(chain.stream("a joke"))[-1] == Joke(**JOKE)
    assert [part async for part in chain.astream("a joke")][-1] == Joke(**JOKE)
    assert len(model.heard) == 6


async def test_a_stream_that_has_given_something_ends_with_the_error():
    cut = said('{"setup": "Why", "punch', "length")
    model = scripted(cut, cut)
    chain = structured_output(model, SCHEMA, retry=True)
    given, agiven = [], []
    with pytest.raises(StructuredOutputError):
        given.extend(chain.stream("a joke"))
    with pytest.raises(StructuredOutputError):
        await drain(chain.astream("a joke"), agiven)
    assert given == agiven
    assert given[-1] == {"setup": "Why"}
    assert len(model.heard) == 2


async def test_a_stream_with_include_raw_does_not_ask_again():
    model = scripted(said("no"), said("no"))
    chain = structured_output(model, Joke, retry=True, include_raw=True)
    assert isinstance(list(chain.stream("a joke"))[-1]["parsing_error"], StructuredOutputError)
    *_, last = [part async for part in chain.astream("a joke")]
    assert isinstance(last["parsing_error"], StructuredOutputError)
    assert len(model.heard) == 2


def test_settings_and_callbacks_reach_every_try():
    tracer = Tracer()
    model = scripted(said("no"), answering("json_mode"))
    chain = structured_output(model, Joke, method="json_mode", retry=True)
    chain.bind(temperature=0.1).invoke("a joke", config={"callbacks": [tracer]})
    assert [told["temperature"] for told in model.told] == [0.1, 0.1]
    assert len(tracer.options) == 2
    assert all(isinstance(messages[0], SystemMessage) for messages in model.heard)


def test_errors_of_the_model_are_not_asked_again():
    class Down(Scripted):
        def _generate(self, *args, **kwargs):
            raise ConnectionError("down")

    with pytest.raises(ConnectionError):
        structured_output(Down(answers=[]), Joke, retry=True).invoke("a joke")


# Events


@pytest.mark.parametrize("options", [{}, {"retry": True}, {"method": "json_mode"}])
async def test_partial_objects_are_events_of_the_parser(options):
    chain = structured_output(scripted(answering("json_schema")), SCHEMA, **options)
    events = [event async for event in chain.astream_events("a joke", version="v2")]
    parsed = [event["data"]["chunk"] for event in events if event["event"] == "on_parser_stream"]
    assert len(parsed) > 10
    assert parsed[-1] == JOKE
    assert sum(event["event"] == "on_chat_model_stream" for event in events) > 10
    assert events[-1]["data"]["output"] == JOKE
