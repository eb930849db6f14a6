"""Refusals in core and LangChain's agents (langchain-core 1.7.5, LangChain 1.5)."""

import pytest
from langchain.agents import create_agent
from langchain.agents import middleware as offered
from langchain.agents.structured_output import ProviderStrategy
from langchain_core import exceptions as core
from langchain_core.messages import content as blocks
from pydantic import BaseModel

from tests.support.agents import question
from tests.support.modes import ask as send

NO = "I will not."
REFUSED = {"text": "", "refusal": NO}

pytestmark = pytest.mark.skipif(
    not hasattr(core, "ModelRefusalError") or "refusal" not in blocks.KNOWN_BLOCK_TYPES,
    reason="core had no word for refusals before 1.8",
)
with_middleware = pytest.mark.skipif(
    not hasattr(offered, "ModelRefusalMiddleware"), reason="new in LangChain 1.5"
)


class Weather(BaseModel):
    city: str


def refusals(message):
    return [block for block in message.content_blocks if block["type"] == "refusal"]


async def test_a_refusal_is_a_content_block(model, ernie_server, version, mode):
    ernie_server.reply(**REFUSED)
    message = await send(model(output_version=version), "?", mode)
    assert [block["refusal"] for block in refusals(message)] == [NO]


@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
def test_structured_output_raises_cores_refusal_error(model, ernie_server, method):
    ernie_server.reply(**REFUSED, times=2)
    with pytest.raises(core.ModelRefusalError, match=NO) as caught:
        model().with_structured_output(Weather, method=method).invoke("?")
    assert refusals(caught.value.raw_message)
    result = model().with_structured_output(Weather, method=method, include_raw=True).invoke("?")
    assert isinstance(result["parsing_error"], core.ModelRefusalError)


@with_middleware
@pytest.mark.parametrize("form", [None, ProviderStrategy(Weather)], ids=["text", "provider"])
def test_refusal_middleware_raises(model, ernie_server, ask, form):
    ernie_server.reply(**REFUSED)
    middleware = [offered.ModelRefusalMiddleware()]
    agent = create_agent(model(), response_format=form, middleware=middleware)
    with pytest.raises(core.ModelRefusalError, match=NO):
        ask(agent, question())
