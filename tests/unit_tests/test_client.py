from __future__ import annotations

import json

import pytest
from langchain_core.messages import HumanMessage

from langchain_aimlernie import ChatAimlErnie
from langchain_aimlernie._client import PreparedRequest


def model_sent(given, **settings):
    prepared = PreparedRequest.of(
        ChatAimlErnie(api_key="k", **settings), [HumanMessage("hi")], None, {"model": given}
    )
    return json.loads(prepared.body)["model"]


@pytest.mark.parametrize("given", ["baidu/ERNIE-4.5-21B-A3B", "ernie-4.5-21b-a3b"])
def test_the_api_is_told_its_own_name_of_a_model(given):
    assert model_sent(given) == "baidu/ernie-4.5-21b-a3b"
    assert model_sent("baidu/ernie-9") == "baidu/ernie-9"


@pytest.mark.parametrize("given", ["baidu/ERNIE-4.5-21B-A3B", "ERNIE-4.5-21B-A3B-PT", "my-ernie"])
def test_another_server_is_told_the_name_as_it_was_given(given):
    assert model_sent(given, base_url="http://localhost:8000/v1") == given
