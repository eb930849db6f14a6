"""Batches in the actors of Ray Data, called as Ray calls them; and once with Ray itself."""

import subprocess
import sys
from decimal import Decimal

import numpy as np
import pytest
from pydantic import BaseModel

from langchain_aimlernie.batch.ray import RayBatch
from langchain_aimlernie.testing import Reply

TEXTS = "response_text response_parsed response_body error_code error_message usd credits"
COLUMNS = {
    **dict.fromkeys([*TEXTS.split(), "inference_id", "client_request_id"], str),
    **dict.fromkeys(["status_code", "input_tokens", "output_tokens"], int),
}


def calls(server):
    return [request for request in server.requests if request.path.endswith("/chat/completions")]


def test_a_batch_gets_flat_columns_of_fixed_types_and_no_row_raises(model, ernie_server, tmp_path):
    ernie_server.on_request = lambda request: (
        Reply(status=400, body={"message": "no"}) if "two" in str(request.body) else None
    )
    actor = RayBatch(model(), tmp_path, 1)
    batch = {"id": [1, 2, 3], "prompt": ["one", "two", "one"]}
    result = actor(batch)
    assert result.keys() == batch.keys() | COLUMNS.keys()
    for name, kind in COLUMNS.items():
        assert [type(value) for value in result[name]] == [kind] * 3
    assert result["status_code"] == [200, 400, 200]
    assert [bool(message) for message in result["error_message"]] == [False, True, False]
    assert result["response_text"][0].endswith("one")
    assert [Decimal(usd) > 0 for usd in result["usd"]] == [True, False, True]


@pytest.mark.slow
def test_a_batch_that_is_replayed_is_not_paid_for_again(model, ernie_server, tmp_path):
    batch = {"text": [f"Number {n}" for n in range(20)]}
    settings = {"template": "Say: {text}", "system": "Be brief."}
    first = RayBatch(model, tmp_path, 2, **settings)(batch)
    replayed = RayBatch(model, tmp_path, 2, **settings)(batch)
    assert replayed == first
    assert len(calls(ernie_server)) == 20
    assert calls(ernie_server)[0].body["messages"][0] == {"role": "system", "content": "Be brief."}


def test_each_actor_has_its_share_of_the_budget(model, ernie_server, tmp_path):
    ernie_server.on_request = lambda _: Reply("five")
    usd = Decimal(RayBatch(model(), tmp_path / "a", 1)({"prompt": ["x"]})["usd"][0])
    actor = RayBatch(model(), tmp_path / "b", 2, limit_usd=usd * 8)
    first = actor({"prompt": ["a", "b", "c"]})
    second = actor({"prompt": ["d", "e", "f"]})
    assert [code for code in (*first["error_code"], *second["error_code"]) if code] == [
        "RuntimeError"
    ] * 2
    assert "budget" in second["error_message"][-1]
    assert len(calls(ernie_server)) == 5


def test_a_refused_key_or_a_missing_column_is_an_error_of_each_row(model, tmp_path):
    result = RayBatch(model(api_key="wrong"), tmp_path, 1)({"prompt": ["x", "y"]})
    assert result["error_code"] == ["AuthenticationError"] * 2
    result = RayBatch(model(), tmp_path, 1)({"text": ["x", "y"]})
    assert result["error_code"] == ["KeyError"] * 2
    with pytest.raises(ValueError, match="actors"):
        RayBatch(model(), tmp_path, 0)


class NotAvailable:
    """Is no truth value if compared, as pandas' `NA`."""

    __hash__ = None

    def __eq__(self, _):
        return self

    def __bool__(self):
        raise TypeError("ambiguous")


def test_a_row_without_a_value_is_not_sent(model, ernie_server, tmp_path):
    values = ["x", None, float("nan"), " ", NotAvailable()]
    result = RayBatch(model(), tmp_path, 1)({"prompt": values})
    assert result["error_code"] == ["", *["ValueError"] * 4]
    assert len(calls(ernie_server)) == 1


@pytest.mark.parametrize(
    ("prompts", "texts"),
    [
        (np.array(["a", "b"]), ["a", "b"]),
        (np.array([1, 2]), ["1", "2"]),
        (np.array([b"a", "ä".encode()], dtype=object), ["a", "ä"]),
        (np.array([["a", "b"], ["c", "d"]]), ["['a', 'b']", "['c', 'd']"]),
    ],
)
def test_columns_may_be_arrays_of_any_shape(model, ernie_server, tmp_path, prompts, texts):
    batch = {"embedding": np.zeros((2, 3)), "prompt": prompts}
    assert RayBatch(model(), tmp_path, 1)(batch)["error_code"] == ["", ""]
    sent = [request.body["messages"][0]["content"] for request in calls(ernie_server)]
    assert sorted(sent) == texts


class Word(BaseModel):
    """A word."""

    word: str


def test_parsed_objects_are_json(model, ernie_server, tmp_path):
    ernie_server.reply('{"word": "yes"}')
    result = RayBatch(model(), tmp_path, 1, schema=Word)({"prompt": ["x"]})
    assert result["response_parsed"] == ['{"word": "yes"}']


ON_RAY = """
import sys
import ray
from langchain_aimlernie import ChatAimlErnie
from langchain_aimlernie.batch.ray import RayBatch
base_url, key, journal = sys.argv[1:]
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
ds = ray.data.from_items([{"prompt": f"Say {n}."} for n in range(20)])
ds = ds.map_batches(
    RayBatch,
    fn_constructor_kwargs={
        "runnable": lambda: ChatAimlErnie(base_url=base_url, api_key=key),
        "journal": journal,
        "actors": 2,
    },
    compute=ray.data.ActorPoolStrategy(size=2),
    batch_size=5,
)
rows = ds.take_all()
assert sorted(row["prompt"] for row in rows) == sorted(f"Say {n}." for n in range(20)), rows
assert all(row["response_text"] and not row["error_code"] for row in rows), rows
print("done")
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_workers_of_ray(ernie_server, tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed")
    arguments = [ernie_server.base_url, ernie_server.api_key, str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", ON_RAY, *arguments], capture_output=True, text=True, check=False
    )
    assert done.stdout.endswith("done\n"), done.stderr
    assert len(calls(ernie_server)) == 20
