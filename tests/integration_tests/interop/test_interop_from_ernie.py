"""Conversations that ERNIE began, as other packages' converters would send them.

Nothing is sent: each package returns its payload, which is compared with the conversation.

All packages accept messages with plain content, the default. The other forms have limits in those
packages, for messages of any provider: langchain-mistralai (1.1) drops the text beside tool calls,
and sends v1 content blocks unchanged where a text is needed; langchain-openai (1.7) turns the
reasoning blocks of v1 content into reasoning items without an id for Responses; core (1.7) leaves a
`tool_call_chunk` in streamed v1 content for an invalid call, and langchain-openai sends it.
"""

import json
from typing import NamedTuple

import pytest
from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage

from tests.support.agents import THINKING, weather
from tests.support.modes import OUTPUT_FORMS, respond

pytestmark = pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")

CALL = {"name": "weather", "args": {"city": "Köln"}, "id": "call_1"}
SECOND_CALL = {"name": "weather", "args": {"city": "北京"}, "id": "call_2"}
INVALID_CALL = {"name": "weather", "args": '{"city": "北', "id": "call_2"}
REASONING = "Two cities, two calls."


class Encoded(NamedTuple):
    """The contents of a payload, in each provider's own terms.

    `calls` are (id, name, arguments), `results` (id of the call, text); `types` those of blocks or
    items.
    """

    texts: list[str]
    calls: list[tuple[str, str, object]]
    results: list[tuple[str, str]]
    types: set[str]


def encode_anthropic(messages) -> Encoded:
    from langchain_anthropic import ChatAnthropic  # half a second, as all of these

    payload = ChatAnthropic(model="claude-sonnet-4-5", api_key="x")._get_request_payload(messages)
    encoded = Encoded([payload["system"]], [], [], set())
    for message in payload["messages"]:
        content = message["content"]
        for block in [{"type": "text", "text": content}] if isinstance(content, str) else content:
            encoded.types.add(block["type"])
            if block["type"] == "text":
                assert block.keys() == {"type", "text"}
                encoded.texts.append(block["text"])
            if block["type"] == "tool_use":
                assert block.keys() == {"type", "id", "name", "input"}
                encoded.calls.append((block["id"], block["name"], block["input"]))
            if block["type"] == "tool_result":
                encoded.results.append((block["tool_use_id"], block["content"]))
    return encoded


def encode_openai(messages) -> Encoded:
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(model="gpt-5", api_key="x")
    return _read_chat(model._get_request_payload(messages)["messages"])


def encode_mistral(messages) -> Encoded:
    from langchain_mistralai import ChatMistralAI

    model = ChatMistralAI(model="mistral-large-latest", api_key="x")
    return _read_chat(model._create_message_dicts(messages, None)[0])


def _read_chat(messages) -> Encoded:
    encoded = Encoded([], [], [], set())
    for message in messages:
        assert message.keys() <= {"role", "content", "name", "tool_calls", "tool_call_id"}
        content = message["content"] or ""
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        encoded.types.update(part["type"] for part in parts)
        text = "".join(part["text"] for part in parts if part["type"] == "text")
        if message["role"] == "tool":
            encoded.results.append((message["tool_call_id"], text))
        elif text:
            encoded.texts.append(text)
        for call in message.get("tool_calls", ()):
            function = call["function"]
            encoded.calls.append((call["id"], function["name"], _decoded(function["arguments"])))
    return encoded


def encode_responses(messages) -> Encoded:
    from langchain_openai import ChatOpenAI

    llm = ChatOpenAI(model="gpt-5", api_key="x", use_responses_api=True)
    encoded = Encoded([], [], [], set())
    for item in llm._get_request_payload(messages)["input"]:
        encoded.types.add(item["type"])
        if item["type"] == "message":
            content = item["content"]
            parts = [{"text": content}] if isinstance(content, str) else content
            encoded.texts.append("".join(part["text"] for part in parts))
        if item["type"] == "function_call":
            assert item.keys() == {"type", "call_id", "name", "arguments"}
            encoded.calls.append((item["call_id"], item["name"], _decoded(item["arguments"])))
        if item["type"] == "function_call_output":
            encoded.results.append((item["call_id"], item["output"]))
    return encoded


def encode_gemini(messages) -> Encoded:
    """Encode for Gemini, which matches results to calls by name and order instead of ids."""
    from langchain_google_genai import ChatGoogleGenerativeAI

    llm = ChatGoogleGenerativeAI(model="gemini-3-pro-preview", api_key="x")
    request = llm._prepare_request(messages)
    encoded = Encoded([], [], [], set())
    for content in [request["config"].system_instruction, *request["contents"]]:
        for part in content.parts:
            assert not part.thought
            if part.text is not None:
                encoded.texts.append(part.text)
            if part.function_call:
                call = part.function_call
                encoded.calls.append((f"call_{len(encoded.calls) + 1}", call.name, call.args))
                encoded.types.add("signed" if part.thought_signature else "unsigned")
            if part.function_response:
                result = part.function_response
                assert result.name == "weather"
                call_id = f"call_{len(encoded.results) + 1}"
                encoded.results.append((call_id, str(result.response["output"])))
    return encoded


def _decoded(arguments):
    try:
        return json.loads(arguments)
    except ValueError:
        return arguments


@pytest.fixture(params=OUTPUT_FORMS)
def converse(request, model, ernie_server):
    """Return a function that has ERNIE respond in one output form, and returns the messages."""
    llm = model(model=THINKING, **OUTPUT_FORMS[request.param])

    def converse(*calls):
        messages = [SystemMessage("Be brief."), HumanMessage("Weather?")]
        if calls:
            ernie_server.reply("I look.", reasoning=REASONING, tool_calls=calls)
            messages.append(respond(llm, messages, request.param))
            messages += [
                ToolMessage(f"result {call['id']}", tool_call_id=call["id"], name="weather")
                for call in calls
            ]
        ernie_server.reply("Sun.", reasoning=REASONING)
        messages.append(respond(llm, messages, request.param))
        return [*messages, HumanMessage("Thanks.")]

    converse.has_blocks = request.param.startswith(("v1", "v3"))
    return converse


ALL_PACKAGES = pytest.mark.parametrize(
    "encode", [encode_anthropic, encode_openai, encode_responses, encode_gemini]
)
TEXTS = ["Be brief.", "Weather?", "I look.", "Sun.", "Thanks."]


@ALL_PACKAGES
def test_texts_calls_and_results_are_sent_and_reasoning_is_not(converse, encode):
    encoded = encode(converse(CALL, SECOND_CALL))
    assert encoded.texts == TEXTS
    sent = [(each["id"], each["name"], each["args"]) for each in (CALL, SECOND_CALL)]
    assert encoded.calls == sent
    assert encoded.results == [("call_1", "result call_1"), ("call_2", "result call_2")]
    if not (converse.has_blocks and encode is encode_responses):
        assert REASONING not in repr(encoded)
    allowed = {
        encode_anthropic: {"text", "tool_use", "tool_result"},
        encode_openai: {"text"},
        encode_responses: {"message", "function_call", "function_call_output"}
        | ({"reasoning"} if converse.has_blocks else set()),
        encode_gemini: {"signed", "unsigned"},
    }
    assert encoded.types <= allowed[encode]


def test_mistral_gets_calls_and_results_under_its_own_ids(converse):
    encoded = encode_mistral(converse(CALL, SECOND_CALL))
    sent = [(each["name"], each["args"]) for each in (CALL, SECOND_CALL)]
    assert [call[1:] for call in encoded.calls] == sent
    ids = [call_id for call_id, _ in encoded.results]
    assert [call_id for call_id, *_ in encoded.calls] == ids
    assert {len(call_id) for call_id in ids} == {9}
    assert [text for _, text in encoded.results] == ["result call_1", "result call_2"]
    assert encoded.texts[-1] == "Thanks."


@pytest.mark.parametrize(
    "encode", [encode_anthropic, encode_openai, encode_responses, encode_mistral]
)
def test_an_invalid_call_is_sent_with_its_result(converse, encode):
    encoded = encode(converse(CALL, INVALID_CALL))
    assert [name for _, name, _ in encoded.calls] == ["weather", "weather"]
    assert [each[0] for each in encoded.calls] == [each[0] for each in encoded.results]
    assert [text for _, text in encoded.results] == ["result call_1", "result call_2"]


@pytest.mark.slow
def test_two_packages_alternate_in_one_conversation(model, openai, ernie_server):
    messages = [SystemMessage("Be brief.")]
    turns = [openai, model(), openai, model(output_version="v1"), openai, model(streaming=True)]
    for number, llm in enumerate(turns):
        messages.append(HumanMessage(f"Question {number}"))
        call_id = f"call_{number}"
        ernie_server.reply("I look.", tool_calls=[{**CALL, "id": call_id}])
        messages.append(llm.bind_tools([weather]).invoke(messages))
        messages.append(ToolMessage(f"result {number}", tool_call_id=call_id))
        ernie_server.reply(f"Answer {number}")
        messages.append(llm.bind_tools([weather]).invoke(messages))
        assert messages[-1].text == f"Answer {number}"
    sent = ernie_server.last_request.body["messages"]
    for role, prefix in (("tool", "result"), ("user", "Question")):
        contents = [each["content"] for each in sent if each["role"] == role]
        assert contents == [f"{prefix} {number}" for number in range(6)]
    providers = [each.response_metadata["model_provider"] for each in messages if each.type == "ai"]
    assert providers == ["openai", "openai", "aimlernie", "aimlernie"] * 3
