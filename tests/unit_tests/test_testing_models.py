"""`GET /v1/models` of the local server."""

import httpx
import pytest

TEXT = "baidu/ernie-4.5-21b-a3b"


@pytest.fixture
def client(ernie_server):
    headers = {"authorization": f"Bearer {ernie_server.api_key}"}
    with httpx.Client(base_url=ernie_server.base_url, headers=headers, trust_env=False) as client:
        yield client


@pytest.mark.parametrize("asked", [TEXT, TEXT.removeprefix("baidu/")])
def test_models_are_found_by_id_and_alias_without_a_key(ernie_server, asked):
    response = httpx.get(ernie_server.base_url + "/models", params={"id": asked})
    (model,) = response.json()["data"]
    assert model["id"] == TEXT
    assert model["info"]["contextLength"] == 120_000
    assert "made up" in model["info"]["description"]
    assert not {"pricing", "modalities", "capabilities"} & set(model)


@pytest.mark.parametrize(
    ("query", "keys"),
    [
        ("include=pricing,capabilities", {"pricing", "capabilities"}),
        ("include=pricing&include=modalities", {"pricing", "modalities"}),
        ("include=all", {"pricing", "capabilities", "modalities"}),
        ("details=1", {"pricing", "capabilities", "modalities"}),
        ("include=nonsense&foo=bar", set()),
    ],
)
def test_sections_of_models_are_included_as_requested(client, query, keys):
    data = client.get(f"/models?{query}").json()["data"]
    assert len(data) == 15
    shown = {"pricing", "capabilities", "modalities"}
    assert all(shown & set(model) == keys for model in data)


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("input_modalities=image", 4),
        ("output_modalities=image", 0),
        ("modalities=file", 4),
        ("capabilities=reasoning,tools", 10),
        ("capabilities=tools&input_modalities=image", 2),
        ("type=openai/chat-completions", 15),
        ("tags=playground:video", 0),
        ("id=ernie-5.0,baidu/ernie-4.5-0.3b", 2),
    ],
)
def test_models_are_filtered_as_documented(client, query, count):
    assert len(client.get(f"/models?{query}").json()["data"]) == count


def test_an_unchanged_catalogue_is_not_sent_again(client):
    etag = client.get("/models").headers["etag"]
    again = client.get("/models", headers={"if-none-match": f'"other", {etag}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    other = client.get("/models?include=all", headers={"if-none-match": etag})
    assert other.status_code == 200
