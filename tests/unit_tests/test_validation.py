from __future__ import annotations

import pytest

from langchain_aimlernie._settings.values import (
    check_headers,
    check_request_id,
    endpoint_url,
    parse_base_url,
    parse_key,
)

API, LOCAL, CHAT = "https://api.aimlapi.com", "http://localhost", "/chat/completions"


@pytest.mark.parametrize(
    ("given", "base", "endpoint"),
    [
        *((f"{API}{end}", f"{API}/v1", None) for end in ("", "/", "/v1", "/v1/")),
        (f" {API}/v1{CHAT} ", f"{API}/v1", None),
        ("https://gateway.example/ernie/", "https://gateway.example/ernie", None),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/v1", None),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1", None),
        (LOCAL, f"{LOCAL}/v1", None),
        *((f"{LOCAL}{CHAT}{end}", f"{LOCAL}{CHAT}", LOCAL) for end in ("", "/")),
        (f"{LOCAL}/{CHAT}", f"{LOCAL}/{CHAT}", f"{LOCAL}/"),
        (f"{LOCAL}/v1{CHAT}/", f"{LOCAL}/v1", None),
    ],
)
def test_base_urls_are_normalized(given, base, endpoint):
    assert parse_base_url(given) == base
    assert parse_base_url(base) == base
    assert endpoint_url(base, CHAT) == f"{endpoint or base}{CHAT}"
    assert endpoint_url(base, "/models") == f"{endpoint or base}/models"


def test_an_unencrypted_remote_address_is_a_warning():
    with pytest.warns(UserWarning, match="not encrypted"):
        assert parse_base_url("http://example.org") == "http://example.org/v1"


def test_what_can_be_sent_is_taken_and_trimmed():
    for value in ("a", "A-1_b.c:d", "x" * 128):
        assert check_request_id(value) == value
    headers = {"X-Team": " blue "}
    assert check_headers(headers) == {"X-Team": "blue"}
    assert headers == {"X-Team": " blue "}
    assert parse_key(" \tsk-key\r\n") == "sk-key"
