"""Many prompts on several machines with Ray Data: `pip install "ray[data]"`."""

import importlib.util
import tempfile

from _local import run

from langchain_aimlernie import ChatAimlErnie
from langchain_aimlernie.batch.ray import RayBatch

ACTORS = 2


def make_model() -> ChatAimlErnie:
    """Make the model in each actor, where the key is in the environment."""
    return ChatAimlErnie(temperature=0)


def main() -> None:
    """Translate some words in two actors."""
    if importlib.util.find_spec("ray") is None:
        print('skipped: Ray is not installed; pip install "ray[data]"')
        return
    import ray  # noqa: PLC0415  it may be missing

    ray.init(num_cpus=ACTORS, include_dashboard=False, log_to_driver=False)
    words = ray.data.from_items([{"word": word} for word in ("soup", "table", "river", "moon")])
    with tempfile.TemporaryDirectory() as journal:  # a directory that all machines share
        translated = words.map_batches(
            RayBatch,
            fn_constructor_kwargs={
                "runnable": make_model,
                "journal": journal,
                "actors": ACTORS,
                "template": "Translate into French: {word}",
                "limit_usd": 1,
            },
            compute=ray.data.ActorPoolStrategy(size=ACTORS),
            batch_size=2,
        )
        for row in translated.take_all():
            print(row["word"], "->", row["response_text"] or row["error_message"])


if __name__ == "__main__":
    run(main)
