"""A server of your own: FastDeploy, vLLM and SGLang speak the same protocol, without a key.

Start one, for example `vllm serve baidu/ERNIE-4.5-21B-A3B-PT --served-model-name
ERNIE-4.5-21B-A3B`, and name it in ERNIE_SERVER if it is not on port 8000 of this machine.
"""

import os

from _local import run

from langchain_aimlernie import ChatAimlErnie


def main() -> None:
    """Ask, and send what only that server understands."""
    llm = ChatAimlErnie(
        model="ERNIE-4.5-21B-A3B",  # the name that the server gives it
        base_url=os.environ.get("ERNIE_SERVER", "http://localhost:8000/v1"),
        api_key=None,  # else the key of AIMLAPI_API_KEY would be sent there
        extra_body={"top_k": 20},  # fields of that server, unchecked
    )
    print(llm.invoke("Who runs you?").text)

    # Without a reasoning parser such servers leave <think>…</think> in the text: it is split off.
    answer = llm.invoke("Think, then answer: is 91 a prime?")
    print(answer.additional_kwargs.get("reasoning_content"), "|", answer.text)
    print(answer.response_metadata.get("usd_spent", "nothing to pay"))


if __name__ == "__main__":
    run(main)
