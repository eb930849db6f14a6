"""Structured output as users of comparable packages have reported it, over a socket in every way."""

import json
import pickle
from typing import Literal

import pytest
from pydantic import BaseModel, RootModel

from langchain_aimlernie import ChatAimlErnie
from langchain_aimlernie.errors import BadRequestError, ContextWindowExceededError
from langchain_aimlernie.testing import ErnieServer, Reply
from tests.support.splits import split_at
from tests.support.structured import WAYS, City, ask

F = "```"


class Note(BaseModel):
    """A note; nothing is required."""

    text: str = "?"


class Names(RootModel[list[str]]):
    """Names."""


class Mood(RootModel[Literal["good", "bad"]]):
    """A mood."""


NUMBERS = {"title": "Numbers", "type": "array", "items": {"type": "integer"}}
NOTE = {"title": "Note", "type": "object", "properties": {"text": {"type": "string"}}}
PARIS = City(name="Paris", people=2_100_000)
PARIS_TEXT = PARIS.model_dump_json()


def fence(content, info="json"):
    return f"{F}{info}\n{content}\n{F}"


def deltas(message):
    """A message as a stream in pieces of two characters, which cut numbers and fences."""

    def pieces(text):
        return split_at(text, range(2, len(text), 2))

    for field in ("reasoning_content", "content"):
        yield from ({field: part} for part in pieces(message.get(field, "")))
    for index, call in enumerate(message.get("tool_calls", ())):
        name, arguments = call["function"].values()
        for function in (
            {"name": name, "arguments": ""},
            *({"name": None, "arguments": part} for part in pieces(arguments)),
        ):
            yield {"tool_calls": [{**call, "index": index, "function": function}]}


def reply(message, request):
    def choices(reason=None, **held):
        return {"id": "x", "choices": [{"index": 0, "finish_reason": reason, **held}]}

    end = "tool_calls" if message.get("tool_calls") else "stop"
    if request.body.get("stream"):
        events = [choices(delta=delta) for delta in deltas(message)]
        return Reply(events=[*events, choices(end, delta={}), "[DONE]"])
    return Reply(body=choices(end, message={"role": "assistant", **message}))


def said(text, **more):
    return {"content": text, **more}


def called(arguments, name="City"):
    function = {"name": name, "arguments": arguments}
    return {"content": "", "tool_calls": [{"id": "c1", "type": "function", "function": function}]}


NAMES = [f"own-{number}" for number in range(500)]


@pytest.fixture(scope="module")
def running():
    with ErnieServer(
        api_key=None, models=dict.fromkeys(NAMES, "baidu/ernie-4.5-21b-a3b")
    ) as server:
        yield server


@pytest.fixture(scope="module")
def names():
    return iter(NAMES)


@pytest.fixture
def server(running):
    running.reset()
    yield running
    assert running.violations == []
    assert running.pending == 0
    running.reset()


@pytest.fixture(params=WAYS)
def way(request):
    return request.param


@pytest.fixture
def llm(server, names):
    """A model whose name no other test has, since what is learnt of a server is remembered."""
    return ChatAimlErnie(model=next(names), base_url=server.base_url, max_retries=0)


# The answer within prose


@pytest.mark.parametrize(
    "case",
    [
        (NUMBERS, f"According to [1], the numbers are:\n{fence('[4, 5, 6]')}", [4, 5, 6]),
        (NOTE, f'Starting from {{}} we get {F}json\n{{"text": "a"}}{F}', {"text": "a"}),
        (Note, f'Starting from {{}} we get {F}json {{"text": "a"}}{F}', Note(text="a")),
        (City, 'Fill in { "name": string }:\n' + fence(PARIS_TEXT), PARIS),
        (City, f'So {{"name": "x"}}, or {PARIS_TEXT}, not {{"people": 1}}.', PARIS),
        (City, fence('{"name": "x"}') + "\nBetter:\n" + fence(PARIS_TEXT), PARIS),
        (City, fence(PARIS_TEXT) + '\nThat is like {"name": "x"}, but larger.', PARIS),
        (City, fence(PARIS_TEXT) + "\nNot so:\n" + fence('{"error": "none"}'), PARIS),
        (City, f"{PARIS_TEXT}\n\nSources: [1], [docs]", PARIS),
        (City, '{"name": "Paris", "people": } is wrong, right is ' + PARIS_TEXT, PARIS),
        ({"title": "Count", "type": "integer"}, "42", 42),
        (Note, r'{"text": "\ud83d\ude00 \ud83d \\ud83d"}', Note(text="😀 \ufffd \\ud83d")),
        (Names, 'The names:\n["a", "b"]', Names(["a", "b"])),
        # JSON mode demands an object.
        (Names, '{"names": ["a", "b"]}', Names(["a", "b"])),
        (Mood, '{"mood": "good"}', Mood("good")),
        ({"title": "Count", "type": "integer"}, '{"Count": "42"}', 42),
        (City, json.dumps(PARIS_TEXT), PARIS),
        (City, json.dumps(fence(PARIS_TEXT)), PARIS),
        ({"title": "Text", "type": "string"}, '"{}"', "{}"),
        (City, f'<think>{{"name": "x"}}?</think>\n{PARIS_TEXT}', PARIS),
        (NOTE | {"type": ["object", "null"]}, "null", None),
        (City, "{" + PARIS_TEXT + "}", PARIS),
        (City, "{\n" + PARIS_TEXT, PARIS),
        # What can only mean JSON
        (City, "{'name': 'Paris', 'people': 2100000}", PARIS),
        (City, fence('{\n  name: "Paris",  // in France\n  people: 2100000,\n}', "js"), PARIS),
        (City, "好的:{“name”:“Paris”,“people”:2100000}", PARIS),
        (Note, r'{"text": "\(\alpha\) isn\'t \\d"}', Note(text=r"\(\alpha\) isn't \d")),
        ({"title": "Flags", "type": "object", "required": ["a"]}, "{'a': [True, None]}", {"a": [True, None]}),
    ],
)  # fmt: skip
async def test_the_last_instance_is_the_answer(server, llm, way, case):
    schema, text, answer = case
    server.on_request = lambda request: reply(said(text), request)
    for method in ("json_schema", "json_mode"):
        chain = llm.with_structured_output(schema, method=method)
        assert (await ask(chain, way)).answer == answer
        raw = await ask(llm.with_structured_output(schema, method=method, include_raw=True), way)
        assert (raw.answer["parsed"], raw.answer["parsing_error"]) == (answer, None)


@pytest.mark.parametrize(
    "case",
    [
        (NOTE, '{"notes": [{"text": "a"}, {"text": "b"}, {"text":', "no valid JSON"),
        # The value that the order would have chosen: the last fenced one, else the last one.
        (City, '{"people": 1} or ' + fence('{"name": []}') + ' or {"people": 2}', "name: Input should be a valid string"),
        (City, 'First {"people": 1}, then {"name": 3}.', "name: Input should be a valid string"),
        (City, '{"name": 1}', "name: Input should be a valid string"),
        (City, '{"name": +1}', "no valid JSON (Expecting value, character 10); the model answered"),
        (City, "NaN", "the answer: Input should be an object"),
        (Names, "[1]: see", "does not fit Names"),
        (Mood, '{"mood": "so-so"}', "does not fit Mood"),
        (Mood, '{"mood": "good", "more": "bad"}', "does not fit Mood"),
    ],
)  # fmt: skip
async def test_no_instance_is_an_error_that_says_what_is_wrong(server, llm, way, case):
    schema, text, problem = case
    server.on_request = lambda request: reply(said(text), request)
    outcome = await ask(llm.with_structured_output(schema, method="json_schema"), way)
    assert outcome.error is not None
    assert problem in str(outcome.error)


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (json.dumps(PARIS_TEXT), PARIS),
        (fence(PARIS_TEXT), PARIS),
        (f"\ufeff{PARIS_TEXT}", PARIS),
        (PARIS_TEXT + "}", PARIS),
        (PARIS_TEXT * 2, PARIS),
        (f"{{}}{PARIS_TEXT}", PARIS),
        (f'<tool_call>{{"name": "City", "arguments": {PARIS_TEXT}}}</tool_call>', PARIS),
        (f"[{PARIS_TEXT}]", PARIS),
        (f"[{json.dumps(PARIS_TEXT)}]", PARIS),
        (f'[{{"name": "City", "arguments": {PARIS_TEXT}}}]', PARIS),
        (f"[{PARIS_TEXT}, {PARIS_TEXT}]", None),
        (f"[{PARIS_TEXT}, 1]", None),
        ("[]", None),
        (PARIS_TEXT[:-1], None),
        (PARIS_TEXT[:-1] + ",\n}", PARIS),
        (PARIS_TEXT.replace('"', "'"), PARIS),
        (PARIS_TEXT[:-1] + ",,}", None),
    ],
)
async def test_arguments_are_read_like_a_text(server, llm, way, arguments, answer):
    server.on_request = lambda request: reply(called(arguments), request)
    outcome = await ask(llm.with_structured_output(City, method="function_calling"), way)
    assert outcome.answer == answer if answer else outcome.error


def two_calls(first, second):
    calls = [called(first)["tool_calls"][0], {**called(second)["tool_calls"][0], "id": "c2"}]
    return {"content": "", "tool_calls": calls}


@pytest.mark.parametrize(
    ("message", "answer"),
    [
        (said(PARIS_TEXT), PARIS),
        (
            said(f'Sure: <tool_call>{{"name": "City", "arguments": {PARIS_TEXT}}}</tool_call>'),
            PARIS,
        ),
        (said('{"people": 1}'), "did not call City; it answered"),
        (called(PARIS_TEXT, None), PARIS),
        (called(PARIS_TEXT, "functions.City"), PARIS),
        (called(PARIS_TEXT[:-1] + ",}", "functions.City"), PARIS),
        (said(f'{{"name": "functions.City", "arguments": {PARIS_TEXT}}}'), PARIS),
        (called(PARIS_TEXT, "other"), "did not call City; it called other"),
        ({**called("{}", "other"), **said(PARIS_TEXT)}, "did not call City; it called other"),
        (two_calls("{}", PARIS_TEXT), PARIS),
        (two_calls('{"name": 1}', PARIS_TEXT), PARIS),
        (two_calls('{"name": "x"}', PARIS_TEXT), City(name="x")),
        (two_calls('{"name": 1}', "{}"), "name: Input should be a valid string"),
    ],
)
async def test_the_call_is_the_first_that_fits_or_is_written_as_text(
    server, llm, way, message, answer
):
    server.on_request = lambda request: reply(message, request)
    outcome = await ask(llm.with_structured_output(City, method="function_calling"), way)
    if isinstance(answer, str):
        assert answer in str(outcome.error)
    else:
        assert outcome.answer == answer


@pytest.mark.parametrize("name", ["City", "functions.City"])
async def test_a_call_with_the_name_of_the_schema_is_an_answer_by_every_method(
    server, llm, way, name
):
    server.on_request = lambda request: reply(called(PARIS_TEXT, name), request)
    for method in ("json_schema", "function_calling", "json_mode"):
        outcome = await ask(llm.with_structured_output(City, method=method), way)
        assert outcome.answer == PARIS


# Streams


@pytest.mark.parametrize("way", ["stream", "astream"])
@pytest.mark.parametrize(
    "case",
    [
        # What the text or a fence begins with grows; what stands within prose comes at the end.
        ('{"text": "abcdef"}', True, "abcdef"),
        ("So:\n" + fence('{"text": "abcdef"}'), True, "abcdef"),
        (fence('{"text": "abcdef"}') + "\nOr\n" + fence('{"text": "uvwxyz"}'), True, "uvwxyz"),
        ('So: {"text": "abcdef"} is it.', False, "abcdef"),
        (fence('f({"text": "abcdef"})', "python"), False, "abcdef"),
    ],
)
async def test_partial_objects_come_from_the_beginning_of_a_text_or_fence(server, llm, way, case):
    text, begins, ends = case
    server.on_request = lambda request: reply(said(text), request)
    items = (await ask(llm.with_structured_output(NOTE, method="json_schema"), way)).items
    assert items[-1] == {"text": ends}
    assert (len(items) > 3) is begins
    assert {"text": "ab"} in items or not begins


# Reasoning


@pytest.mark.parametrize(
    "case",
    [
        (PARIS_TEXT, "", PARIS),
        (f"The user wants a city.\n{fence(PARIS_TEXT)}", "\n", PARIS),
        ('{"name": "Rome"}', PARIS_TEXT, PARIS),
        ('{"name": "Rome"}', "I do not know.", None),
        ("I do not know.", "", None),
        ('{"people": 1}', "", None),
    ],
)
async def test_an_object_in_the_reasoning_stands_in_for_no_text(server, llm, way, version, case):
    reasoning, text, answer = case
    llm = llm.model_copy(update={"output_version": version})
    message = said(text, reasoning_content=reasoning)
    server.on_request = lambda request: reply(message, request)
    for method in ("json_schema", "function_calling", "json_mode"):
        if method == "function_calling" and text.strip():
            continue
        outcome = await ask(llm.with_structured_output(City, method=method), way)
        if answer is None:
            assert "did not call" in str(outcome.error) or "no valid JSON" in str(outcome.error)
        else:
            assert outcome.answer == answer
            assert len(outcome.items) == 1 or text.strip()


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
async def test_a_draft_in_reasoning_that_was_cut_is_no_answer(server, llm, way):
    server.reply("", reasoning=f"Maybe {PARIS_TEXT}? No, wait", finish_reason="length")
    outcome = await ask(llm.with_structured_output(City, method="json_schema"), way)
    assert "raise max_tokens" in str(outcome.error)


# Methods that a server refuses

REFUSALS = {
    "OpenAI": "Invalid parameter: 'response_format' of type 'json_schema' is not supported.",
    "vLLM": "Grammar error: Unimplemented keys",
    "LM Studio": "'response_format.type' must be 'text'",
    "llama.cpp": "JSON schema error at #/properties/name: cannot resolve $ref #/nope",
    "Groq": "This model does not support response format `json_schema`.",
    "DeepSeek": "This response_format type is unavailable now",
}
NO_TOOLS = {
    "vLLM": '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser',
    "llama.cpp": "tools param requires --jinja flag",
    "Ollama": "registry.ollama.ai/library/ernie does not support tools",
    "LiteLLM": "does not support parameters: ['tools', 'tool_choice']",
}


class Refusing:
    """A server that takes some of the methods, and counts what it is asked."""

    def __init__(self, server, takes, words="response_format is not supported", status=400):
        self.takes, self.words, self.status = takes, words, status
        self.asked: list[str] = []
        self.answers = {
            "json_schema": said(PARIS_TEXT),
            "function_calling": called(PARIS_TEXT),
            "json_mode": said(PARIS_TEXT),
        }
        server.on_request = self.answer

    def answer(self, request):
        body = request.body
        kind = body.get("response_format", {}).get("type", "tools")
        method = {"json_object": "json_mode", "tools": "function_calling"}.get(kind, kind)
        self.asked.append(method)
        if method in self.takes:
            return reply(self.answers[method], request)
        return Reply(status=self.status, body={"error": {"message": self.words}})


@pytest.mark.parametrize(
    ("takes", "asked"),
    [
        (["json_schema", "function_calling", "json_mode"], ["json_schema"]),
        (["function_calling", "json_mode"], ["json_schema", "function_calling"]),
        (["json_mode"], ["json_schema", "function_calling", "json_mode"]),
    ],
)
async def test_auto_takes_the_first_method_that_the_server_takes(server, llm, way, takes, asked):
    refusing = Refusing(server, takes)
    assert (await ask(llm.with_structured_output(City), way)).answer == PARIS
    assert refusing.asked == asked
    # The process remembers it, for every schema and way of calling, and not in the runnable.
    for again, schema in (("invoke", City), ("astream", City.model_json_schema())):
        chain = pickle.loads(pickle.dumps(llm.with_structured_output(schema)))
        answer = (await ask(chain, again)).answer
        assert City.model_validate(answer, from_attributes=True) == PARIS
    outcome = await ask(llm.with_structured_output(City, include_raw=True), way)
    result = {key: value for item in outcome.items for key, value in item.items()}
    assert (result["parsed"], result["parsing_error"]) == (PARIS, None)
    assert refusing.asked == [*asked, asked[-1], asked[-1], asked[-1]]


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("words", [*REFUSALS.values(), *NO_TOOLS.values()])
def test_a_refusal_is_understood_in_the_words_of_many_servers(server, llm, words, status):
    takes = "json_mode" if words in NO_TOOLS.values() else "function_calling"
    refusing = Refusing(server, [takes], words, status)
    assert llm.with_structured_output(City).invoke("hi") == PARIS
    assert refusing.asked == ["json_schema", "function_calling", "json_mode"][: len(refusing.asked)]
    assert refusing.asked[-1] == takes


@pytest.mark.parametrize(
    "case",
    [
        (400, "This model's maximum context length is 4096 tokens; json_schema counts", ContextWindowExceededError),
        (400, "temperature must be below 1", BadRequestError),
        (413, "response_format: too large", BadRequestError),
        (500, "response_format is not supported", Exception),
        (401, "no key for response_format", Exception),
    ],
)  # fmt: skip
async def test_any_other_error_is_the_answer(server, llm, way, case):
    status, words, error = case
    refusing = Refusing(server, [], words, status)
    with pytest.raises(error, match=words[:20]):
        await ask(llm.with_structured_output(City, retry=True, include_raw=way == "invoke"), way)
    assert refusing.asked == ["json_schema"]


async def test_what_refuses_everything_gives_the_last_error(server, llm, way):
    refusing = Refusing(server, [])
    for _ in range(2):  # and nothing is remembered of it
        with pytest.raises(BadRequestError, match="response_format is not supported"):
            await ask(llm.with_structured_output(City), way)
    assert refusing.asked == ["json_schema", "function_calling", "json_mode"] * 2


@pytest.mark.parametrize("way", ["stream", "astream"])
@pytest.mark.parametrize("include_raw", [False, True])
async def test_nothing_is_asked_again_after_the_first_chunk(server, llm, way, include_raw):
    begun = {"choices": [{"index": 0, "delta": {"content": "hm"}, "finish_reason": None}]}
    failed = {"error": {"message": "response_format is not supported", "code": 400}}
    server.on_request = lambda _: Reply(events=[begun, failed, "[DONE]"])
    with pytest.raises(BadRequestError) as caught:
        await ask(llm.with_structured_output(City, include_raw=include_raw), way)
    assert caught.value.partial.text == "hm"
    assert len(server.requests) == 1


async def test_an_error_as_the_first_event_is_a_refusal(server, llm, way):
    failed = {"error": {"message": "Unsupported value", "param": "response_format", "code": 400}}

    def answer(request):
        if "response_format" not in request.body:
            return reply(called(PARIS_TEXT), request)
        status = 200 if request.body.get("stream") else 400
        return Reply(events=[failed, "[DONE]"], body=failed, status=status)

    server.on_request = answer
    assert (await ask(llm.with_structured_output(City), way)).answer == PARIS


async def test_options_go_along_to_every_method(server, llm, way):
    refusing = Refusing(server, ["json_mode"])
    chain = llm.with_structured_output(City, seed=7, retry=True).bind(top_p=0.5)
    chain = chain.with_config(tags=["x"])
    refusing.answers["json_mode"] = said("No.")
    outcome = await ask(chain, way, temperature=0.1)
    assert "no valid JSON" in str(outcome.error)
    bodies = [request.body for request in server.requests]
    sent = [(body["seed"], body["top_p"], body["temperature"]) for body in bodies]
    assert sent == [(7, 0.5, 0.1)] * 4
    # The correction goes the way that works.
    assert refusing.asked == ["json_schema", "function_calling", "json_mode", "json_mode"]
    assert "Your answer could not be used." in bodies[3]["messages"][-1]["content"]


async def test_each_model_of_a_server_is_learnt_by_itself(server, llm, names):
    refusing = Refusing(server, ["function_calling"])
    chain = llm.with_structured_output(City)
    other, third = next(names), next(names)
    assert chain.batch(["a", "b"], {"max_concurrency": 1}) == [PARIS] * 2
    chain.invoke("hi", model=other)
    assert await chain.bind(model=other).abatch(["a", "b"]) == [PARIS] * 2
    llm.with_structured_output(City, model=third).invoke("hi")
    llm.model_copy(update={"model": third}).with_structured_output(City).invoke("hi")
    both, one = ["json_schema", "function_calling"], ["function_calling"]
    assert refusing.asked == [*both, *one, *both, *one, *one, *both, *one]


def test_what_a_method_cannot_do_is_not_tried(server, llm):
    refusing = Refusing(server, ["json_mode"])
    refusing.answers["json_mode"] = said("[1, 2]")
    assert llm.with_structured_output(NUMBERS).invoke("hi") == [1, 2]
    assert refusing.asked == ["json_schema", "json_mode"]

    refusing.asked.clear()
    strict = llm.with_structured_output(City, strict=True)
    with pytest.raises(BadRequestError):
        strict.invoke("hi")
    assert refusing.asked == ["function_calling"]  # json_schema is known to be refused


def test_tools_go_with_json_schema_only(server, llm):
    refusing = Refusing(server, ["function_calling"])
    tool = {"title": "look_up", "description": "Look up.", "type": "object", "properties": {}}
    with pytest.raises(BadRequestError, match="response_format"):
        llm.with_structured_output(City, tools=[tool]).invoke("hi")
    assert refusing.asked == ["json_schema"]


@pytest.mark.parametrize(
    ("name", "profile", "asked"),
    [
        ("ernie-4.5-21b-a3b", None, ["json_schema", "function_calling", "json_mode"]),
        ("baidu/ERNIE-4.5-21B-A3B-PT", None, ["json_schema", "function_calling", "json_mode"]),
        ("ernie-4.5-21b-a3b", {"tool_calling": True}, ["function_calling"]),
    ],
)
def test_on_another_server_only_a_profile_of_the_user_decides(name, profile, asked):
    with ErnieServer(api_key=None, models={name: "baidu/ernie-4.5-21b-a3b"}) as server:
        refusing = Refusing(server, asked[-1:])
        options = {"base_url": server.base_url, "max_retries": 0}
        llm = ChatAimlErnie(model=name, **options, **({"profile": profile} if profile else {}))
        assert llm.with_structured_output(City).invoke("hi") == PARIS
        assert refusing.asked == asked
        assert {request.body["model"] for request in server.requests} == {name}


def test_for_the_models_of_the_api_nothing_is_tried():
    model, _parser = ChatAimlErnie(api_key="k").with_structured_output(City).steps
    assert model.kwargs["response_format"]["type"] == "json_schema"
