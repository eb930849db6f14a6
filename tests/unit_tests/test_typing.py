"""Static types of programs that use the model."""

from pathlib import Path

import pytest

import langchain_aimlernie

pytestmark = pytest.mark.slow

VALID = """
from dataclasses import dataclass
from typing import Any, TypedDict

import httpx
import httpx2
from langchain_core.language_models.chat_model_stream import ChatModelStream
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable
from pydantic import BaseModel, SecretStr
from typing_extensions import assert_type

from langchain_aimlernie import ChatAimlErnie, SpendTracker, list_models

class City(BaseModel):
    name: str

@dataclass
class Place:
    name: str

class Town(TypedDict):
    name: str

llm = ChatAimlErnie(
    model_name="m",
    request_timeout=httpx.Timeout(5),
    stop_sequences=["a"],
    openai_api_key="k",
    openai_api_base="https://example.org",
    http_client=httpx2.Client(),
    extra_headers={"X": "y"},
)
ChatAimlErnie(model="m", timeout=httpx2.Timeout(5), stop="a", api_key=SecretStr("k"), cache=False)
settings: dict[str, Any] = {}
ChatAimlErnie(**settings)

class Mine(ChatAimlErnie):
    added: int = 0

assert_type(llm.with_structured_output(City).invoke("hi"), City)
assert_type(llm.with_structured_output(City, method="json_mode", retry=1).invoke("hi"), City)
assert_type(llm.with_structured_output(Place).invoke("hi"), Place)
assert_type(llm.with_structured_output(Town).invoke("hi"), Town)
assert_type(llm.with_structured_output(City, include_raw=True).invoke("hi"), dict[str, Any])
assert_type(llm.with_structured_output({"title": "A"}).invoke("hi"), dict[str, Any])
assert_type(llm.with_structured_output(method="json_mode").invoke("hi"), dict[str, Any])
chain: Runnable[Any, City] = llm.with_structured_output(City)
wide: dict[str, Any] | type = City
is_raw = bool(settings)
llm.with_structured_output(wide, include_raw=is_raw).invoke("hi")
assert_type(llm.with_structured_output(City, include_raw=is_raw).invoke("hi"), City | dict[str, Any])
assert_type(llm.with_structured_output({"title": "A"}, include_raw=is_raw).invoke("hi"), dict[str, Any])

assert_type(llm.bind(temperature=1).invoke("hi"), AIMessage)
assert_type(llm.bind(temperature=1).stream_events("hi", version="v3"), ChatModelStream)
assert_type(llm.bind_tools([]).invoke("hi"), AIMessage)
assert_type(llm.with_retry(stop_after_attempt=2).invoke("hi"), AIMessage)
assert_type(llm.with_fallbacks([llm]).invoke("hi"), AIMessage)
spend = SpendTracker(limit_usd=1)
spend.limit_usd = "2"
list_models(http_client=httpx2.Client(), timeout=httpx.Timeout(5))
"""
INVALID = """
from langchain_aimlernie import ChatAimlErnie

ChatAimlErnie(temprature=1)
ChatAimlErnie(model=5)
ChatAimlErnie(max_retries="many")
ChatAimlErnie().with_structured_output(int, method="magic")
"""


@pytest.mark.timeout(900)  # without mypy's cache
def test_a_type_checker_knows_the_parameters_and_the_results(tmp_path, monkeypatch):
    """With the settings and the cache of `make type`, so that only the first run takes long."""
    api = pytest.importorskip("mypy.api")
    monkeypatch.chdir(Path(__file__).parents[2])
    monkeypatch.setenv("MYPYPATH", str(Path(langchain_aimlernie.__file__).parents[1]))
    paths = []
    for name, program in {"valid": VALID, "invalid": INVALID}.items():
        paths.append(tmp_path / f"{name}.py")
        paths[-1].write_text(program)
    output, failed, _ = api.run(["--no-pretty", *map(str, paths)])
    assert not failed
    found = [line for line in output.splitlines() if ": error:" in line]
    parts = ("temprature", '"model"', "max_retries", "with_structured_output")
    assert len(found) == len(parts)
    for line, part in zip(found, parts, strict=True):
        assert "invalid.py" in line
        assert part in line
