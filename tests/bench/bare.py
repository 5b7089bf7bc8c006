"""CTranslate2 alone: `python -m tests.bench.bare < questions.json`; the last line of stdout is one JSON.

The strongest use of the bare engine that we know: all prompts at once, sorted and cut into batches by CTranslate2, one thread a
replica, one replica a core, the static prompt computed once.
"""

import json
import os
import sys
import time

import ctranslate2

from engine.convert import ensure
from engine.model import Model
from engine.settings import Settings


def main() -> None:
    settings = Settings.load()
    folder = ensure(settings.model, settings)
    model = Model.load(folder, settings)
    static = list(model.prompter.static)
    prompts = [list(model.prompter.build(text).tokens[len(static) :]) for text in json.load(sys.stdin)]
    end = list(model.card.end_tokens)
    model.close()
    cores = len(os.sched_getaffinity(0))
    engine = ctranslate2.Generator(str(folder), compute_type=settings.compute_type, inter_threads=cores, intra_threads=1)

    def generate(count: int) -> int:
        outcomes = engine.generate_batch(
            prompts[:count],
            static_prompt=static,
            max_batch_size=settings.batch_items,
            max_length=settings.max_tokens,
            repetition_penalty=settings.repetition_penalty,
            sampling_topk=1,
            end_token=end,
            include_prompt_in_result=False,
        )
        return sum(len(outcome.sequences[0]) for outcome in outcomes)

    generate(1)
    started = time.perf_counter()
    tokens = generate(len(prompts))
    print(json.dumps({"tokens": tokens, "tokens_per_s": tokens / (time.perf_counter() - started)}))


if __name__ == "__main__":
    main()
