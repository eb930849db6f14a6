"""LangChain's official integration suite over sockets, with every capability that ERNIE has.

Against the local server, or with pytest's option `--live` against the API.
"""

import base64
from types import SimpleNamespace

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.integration_tests import chat_models as suite

from langchain_aimlernie import ChatAimlErnie

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF"


@pytest.fixture(autouse=True)
def local_media(request, monkeypatch):
    """Replace the media that the suite downloads, unless it runs against the API."""
    if request.config.getoption("live"):
        return

    def get(url, **_):
        return SimpleNamespace(content=PDF if url.endswith(".pdf") else PNG)

    monkeypatch.setattr(suite, "httpx", SimpleNamespace(get=get))


@pytest.mark.live
class IntegrationTests(ChatModelIntegrationTests):
    model_name = "baidu/ernie-4.5-21b-a3b"
    other_model_name = "baidu/ernie-4.5-300b-a47b"
    reasons = False
    supports_media = False

    @pytest.fixture(autouse=True)
    def _server(self, request):
        is_live = request.config.getoption("live")
        self.server = None if is_live else request.getfixturevalue("ernie_server")

    chat_model_class = ChatAimlErnie
    has_tool_calling = True
    has_structured_output = True
    supports_json_mode = True
    supports_anthropic_inputs = True
    returns_usage_metadata = True
    supports_model_override = True
    has_tool_choice = property(lambda self: not self.reasons)
    supports_image_inputs = property(lambda self: self.supports_media)
    supports_image_urls = property(lambda self: self.supports_media)
    supports_pdf_inputs = property(lambda self: self.supports_media)
    supports_image_tool_message = property(lambda self: self.supports_media)
    supports_pdf_tool_message = property(lambda self: self.supports_media)
    model_override_value = property(lambda self: self.other_model_name)

    @property
    def chat_model_params(self):
        if self.server is None:  # the environment has the key
            return {"model": self.model_name}
        server = {"api_key": self.server.api_key, "base_url": self.server.base_url}
        return {"model": self.model_name, **server}

    @property
    def supported_usage_metadata_details(self):
        details = ["reasoning_output"] * self.reasons
        # Nothing makes the API read a prompt from its cache.
        details += ["cache_read_input"] * (self.server is not None)
        return {"invoke": details, "stream": details}

    def invoke_with_cache_read_input(self, *, stream=False) -> AIMessage:
        self.server.reply("again", usage=CACHED)
        return ask(self.chat_model_class(**self.chat_model_params), stream=stream)

    def invoke_with_reasoning_output(self, *, stream=False) -> AIMessage:
        return ask(self.chat_model_class(**self.chat_model_params), stream=stream)


CACHED = {
    "prompt_tokens": 40,
    "completion_tokens": 5,
    "total_tokens": 45,
    "prompt_tokens_details": {"cached_tokens": 32},
}


def ask(model, *, stream) -> AIMessage:
    if not stream:
        return model.invoke("Think about it.")
    whole = AIMessageChunk("")
    for chunk in model.stream("Think about it."):
        whole += chunk
    return whole


class TestPlainModel(IntegrationTests):
    pass


@pytest.mark.slow
class TestReasoningModel(IntegrationTests):
    model_name = "baidu/ernie-4.5-21b-a3b-thinking"
    reasons = True


@pytest.mark.slow
class TestVisionModel(IntegrationTests):
    model_name = "baidu/ernie-4.5-vl-28b-a3b"
    supports_media = True


class TestErnie5(IntegrationTests):
    model_name = "baidu/ernie-5.0"
    other_model_name = "baidu/ernie-4.5-21b-a3b"
    reasons = True
    supports_media = True
