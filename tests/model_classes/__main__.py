"""``python -m tests.model_classes [TYPE...]``: tries every class and writes docs/reference/model-classes.md."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
import transformers

import experiments.keywords  # all that is used, before the processes are forked
import experiments.score
import experiments.translate  # noqa: F401
import lm_adapters  # noqa: F401
from tests.model_classes.forked import forked
from tests.model_classes.table import PAGE, page
from tests.model_classes.trial import AUTO, Outcome, try_class

NAMES = {
    "masked": "MODEL_FOR_MASKED_LM_MAPPING_NAMES",
    "causal": "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
    "seq2seq": "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES",
}
SECONDS, PROCESSES = 180, 3
FOUND = Path(__file__).parent / "outcomes.json"


def classes() -> Iterator[tuple[str, str]]:
    """Task and type of every class."""
    from transformers.models.auto import modeling_auto

    for task in AUTO:
        for model_type in getattr(modeling_auto, NAMES[task]):
            yield task, model_type


def main(wanted: list[str]) -> None:
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    found: dict[str, Outcome] = json.loads(FOUND.read_text()) if FOUND.exists() else {}
    chosen = [each for each in classes() if not wanted or {*each, " ".join(each)} & set(wanted)]

    def tried(which: tuple[str, str]) -> Outcome:
        return forked(lambda folder: try_class(*which, folder / "model"), SECONDS)

    with ThreadPoolExecutor(PROCESSES) as pool:
        for which, outcome in zip(chosen, pool.map(tried, chosen), strict=True):
            print(*which, outcome, flush=True)
            found[" ".join(which)] = outcome
            FOUND.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    PAGE.write_text(page(found))


if __name__ == "__main__":
    main(sys.argv[1:])
