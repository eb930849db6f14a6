"""Requests to the local server, and its responses, as bytes and JSON."""

import json
import socket

from tests.support import byte_server

CHAT = "/chat/completions"
TEXT = "baidu/ernie-4.5-21b-a3b"


def body(text="Hello", model=TEXT, **fields):
    return {"model": model, "messages": [{"role": "user", "content": text}], **fields}


def events(response):
    """Return the events of a streamed response, without its `[DONE]`."""
    lines = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def deltas(response):
    return [choice["delta"] for event in events(response) for choice in event["choices"]]


def raw_request(server, version="1.1", header="", **fields):
    """Return the bytes of a chat request; `header` is a line with its end, if any."""
    content = json.dumps(body(**fields)).encode()
    head = f"POST /v1{CHAT} HTTP/{version}\r\nhost: x\r\nauthorization: Bearer {server.api_key}\r\n"
    return f"{head}{header}content-length: {len(content)}\r\n\r\n".encode() + content


def connect(server):
    return socket.create_connection((server.host, server.port))


def read_to_end(sock):
    return b"".join(iter(lambda: sock.recv(65536), b""))


def wait_until(condition):
    """Wait for what no event tells, such as that the server has noticed a client's leaving."""
    assert byte_server.wait_until(condition, 10)
