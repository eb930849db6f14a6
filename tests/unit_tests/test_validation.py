from __future__ import annotations

import pytest

from langchain_aimlernie._settings import (
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


SCHEME = "Put https:// or http:// before it"


@pytest.mark.parametrize(
    ("given", "reason", "shown"),
    [
        ("localhost:8000/v1", SCHEME, "localhost:8000/v1"),
        ("127.0.0.1:8000", SCHEME, "127.0.0.1:8000"),
        ("api.aimlapi.com/v1", SCHEME, "api.aimlapi.com/v1"),
        ("//host/v1", SCHEME, "//host/v1"),
        ("user:hunter2@host:8000/v1", SCHEME, "host:8000/v1"),
        ("user:hunter2/@host:8000/v1", SCHEME, "host:8000/v1"),
        ("host/v1?key=hunter2", SCHEME, "host/v1"),
        ("", SCHEME, ""),
        ("ftp://user:hunter2@host/v1", "https://", "ftp://host/v1"),
        ("https://", "host", "https://"),
        ("https://user:hunter2@host", "api_key", None),
        ("https://user:hunter2#@host:1/v1", "address", "https://host:1/v1"),
        ("https://user:hunter2/@host:1/v1", "address", "https://host:1/v1"),
        ("https://host:99999/v1", "address", "https://host:99999/v1"),
        ("https://host/v1?api-version=1", "query", "https://host/v1"),
        ("https://host/v1?key=hunter2&x=https://y@z", "query", "https://host/v1"),
        ("https://host/#x", "fragment", "https://host/"),
        ("https://ho st", "space", None),
        ("https://host\x00", "control", None),
        ("https://[::1", "address", "https://[::1"),
    ],
)
def test_an_invalid_address_is_an_error_with_its_reason_and_without_secrets(given, reason, shown):
    with pytest.raises(ValueError, match=reason) as caught:
        parse_base_url(given)
    assert shown is None or f"got {shown!r}" in str(caught.value)
    assert (SCHEME in str(caught.value)) is (reason is SCHEME)
    assert "hunter2" not in str(caught.value)


def test_an_unencrypted_remote_address_is_a_warning():
    with pytest.warns(UserWarning, match="not encrypted"):
        assert parse_base_url("http://example.org") == "http://example.org/v1"


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("", "empty"),
        ("  \n", "empty"),
        ("sk-\nkey", "position 4 of 7"),
        ("sk-\x00key", "control character"),
        ("sk key", "space"),
        ("sk-\u200bkey", "non-ASCII"),
        ("“sk-key”", "non-ASCII"),
    ],
)
def test_an_invalid_key_is_an_error_that_does_not_show_it(key, reason):
    with pytest.raises(ValueError, match=reason) as caught:
        parse_key(key)
    assert key.strip() == "" or key not in str(caught.value)
    assert "key”" not in repr(caught.value)
    assert caught.value.__cause__ is None
    assert parse_key(" \tsk-key\r\n") == "sk-key", "white space around it is dropped"


def test_request_ids_that_the_server_would_drop_are_errors():
    for value in ("a", "A-1_b.c:d", "x" * 128):
        assert check_request_id(value) == value
    for value in ("", "x" * 129, "a b", "a\r\nb", "ä", "a/b"):
        with pytest.raises(ValueError, match="1 to 128"):
            check_request_id(value)


def test_headers_are_copied_trimmed_and_checked():
    headers = {"X-Team": " blue "}
    assert check_headers(headers) == {"X-Team": "blue"}
    assert headers == {"X-Team": " blue "}

    names = {"X Y": "a"}, {"": "a"}, {"Host": "h"}, {1: "x"}
    for invalid in ({"X": "a\r\nY: b"}, {"X": "ü"}, {"X": 1}, *names):
        with pytest.raises(ValueError) as caught:
            check_headers(invalid)
        assert "Y: b" not in str(caught.value)
