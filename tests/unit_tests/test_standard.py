"""LangChain's official unit suite."""

import pytest
from langchain_tests.unit_tests import ChatModelUnitTests

from langchain_aimlernie import ChatAimlErnie

MODEL = "baidu/ernie-4.5-21b-a3b"


@pytest.mark.usefixtures("serializable")
class TestChatAimlErnie(ChatModelUnitTests):
    chat_model_class = ChatAimlErnie
    has_tool_calling = True
    has_structured_output = True
    supports_json_mode = True

    @property
    def chat_model_params(self):
        return {"model": MODEL, "api_key": "test-key"}

    @property
    def init_from_env_params(self):
        return (
            {"AIMLAPI_API_KEY": "env-key", "AIMLAPI_API_BASE": "https://example.org/v1"},
            {"model": MODEL},
            {"api_key": "env-key", "base_url": "https://example.org/v1"},
        )
