"""LangChain's official unit suite, for a text model and a vision model."""

from __future__ import annotations

import pytest
from langchain_tests.unit_tests import ChatModelUnitTests

from langchain_aimlernie import ChatAimlErnie


class UnitTests(ChatModelUnitTests):
    model_name = "baidu/ernie-4.5-21b-a3b"

    @property
    def chat_model_class(self):
        return ChatAimlErnie

    @property
    def chat_model_params(self):
        return {"model": self.model_name, "api_key": "test-key"}

    @property
    def init_from_env_params(self):
        return (
            {"AIMLAPI_API_KEY": "env-key", "AIMLAPI_API_BASE": "https://example.org/v1"},
            {"model": self.model_name},
            {"api_key": "env-key", "base_url": "https://example.org/v1"},
        )

    @property
    def has_tool_calling(self):
        return True

    @property
    def has_structured_output(self):
        return True

    @property
    def supports_json_mode(self):
        return True


@pytest.mark.usefixtures("serializable")
class TestPlainModel(UnitTests):
    pass


@pytest.mark.usefixtures("serializable")
class TestVisionModel(UnitTests):
    model_name = "baidu/ernie-4.5-vl-28b-a3b"
