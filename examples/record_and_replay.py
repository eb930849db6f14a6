"""Record real responses once, replay them in tests: VCR.py, or pytest-recording on top of it.

In a test of yours, with `pip install pytest-recording`:

    @pytest.fixture(scope="module")
    def vcr_config():
        return {"filter_headers": SECRET, "before_record_response": without_ids}

    @pytest.mark.vcr
    def test_my_chain():
        with httpx2.Client() as client:
            my_chain(ChatAimlErnie(http_client=client)).invoke(...)

`pytest --record-mode=once` calls the API and writes the cassettes, `--record-mode=none` replays
them. VCR.py sees the calls of a client of yours, not those of the package's own connections.
"""

import tempfile
from pathlib import Path
from typing import Any

import httpx2
import vcr
from _local import run

from langchain_aimlernie import ChatAimlErnie

SECRET = ["authorization", "x-client-request-id"]
IDS = {"x-inference-id", "x-client-request-id", "x-request-id", "set-cookie"}


def without_ids(response: dict[str, Any]) -> dict[str, Any]:
    """Remove the headers that name your calls or your account."""
    for name in list(response["headers"]):
        if name.lower() in IDS:
            del response["headers"][name]
    return response


def ask() -> tuple[str, str]:
    """Do what is to be tested: one call, one stream."""
    with httpx2.Client() as client:
        llm = ChatAimlErnie(http_client=client)
        whole = llm.invoke("What is a cassette?").text
        return str(whole), "".join(str(chunk.text) for chunk in llm.stream("And a tape?"))


def main() -> None:
    """Record, then replay without the server."""
    recorder = vcr.VCR(filter_headers=SECRET, before_record_response=without_ids)
    with tempfile.TemporaryDirectory() as folder:
        cassette = Path(folder, "ask.yaml")
        with recorder.use_cassette(str(cassette), record_mode="once"):
            recorded = ask()
        with recorder.use_cassette(str(cassette), record_mode="none") as played:
            replayed = ask()
        assert replayed == recorded  # noqa: S101  as a test would
        assert played.play_count == 2  # noqa: S101, PLR2004  nothing was sent
        print(
            f"recorded {len(cassette.read_text())} characters, replayed {played.play_count} calls"
        )
        print(replayed[0])


if __name__ == "__main__":
    run(main)
