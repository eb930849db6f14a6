"""Many prompts: every result is saved, a second run continues, and a budget holds."""

import json
import tempfile
from pathlib import Path

from _local import run
from pydantic import BaseModel

from langchain_aimlernie import ChatAimlErnie
from langchain_aimlernie.batch import BatchRun

REVIEWS = ["Great soup!", "Cold and late.", "Fine, I guess.", "Never again.", "Best in town!"]


class Review(BaseModel):
    """What a review says."""

    sentiment: str
    stars: int


def main() -> None:
    """Rate some reviews in two runs, the first with a budget that is too small."""
    llm = ChatAimlErnie(temperature=0)
    rows = [
        {"custom_id": f"review-{number}", "prompt": f"Rate this review: {text}"}
        for number, text in enumerate(REVIEWS)
    ]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "ratings.jsonl")
        print("estimate:", BatchRun(llm, out, schema=Review).estimate(rows))
        first = BatchRun(llm, out, schema=Review, limit_usd="0.00001").run(rows)
        print("first run: ", first)
        run = BatchRun(llm, out, schema=Review, limit_usd=1)
        print("second run:", run.run(rows))
        for line in run.results(ordered=True):
            facts = line["aimlernie"]
            print(line["custom_id"], json.dumps(facts["parsed"]), f"${facts['usd']}")


if __name__ == "__main__":
    run(main)
