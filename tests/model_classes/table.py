"""The table of outcomes in the documentation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

__all__ = ["PAGE", "counts", "page"]

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "model-classes.md"
MEANING = {
    "usual": "rows of any lengths share a pass, prefixes are kept as keys and values, the head runs where it is needed",
    "rows of one length": "padding changes the numbers: only texts of equal length share a pass",
    "one row a pass": "other rows change the numbers: each text has a pass of its own",
    "prefixes of one length": "only prefixes of equal length are continued in one pass",
    "prefixes read anew": "there is no cache, or not of keys and values alone: each pass reads a text from its start",
    "whole head": "the vocabulary head runs at every position, since it does not read what the base model returns",
    "refused": "one line says why",
    "not built": "no tiny model was made",
    "died": "the trial's process ended",
}
INTRODUCTION = """# Classes of models that were tried

Every class of `AutoModelForMaskedLM`, `AutoModelForCausalLM` and `AutoModelForSeq2SeqLM` in transformers {version},
built tiny with random weights, saved, loaded by `MaskedLM`, `CausalLM` or `Seq2SeqLM`, and run through `score` (texts
of 3 to 13 tokens, together and alone) and `keywords` (for models with a source: `translate`). `score` and `kept` are
the largest difference, in nats, of an energy that these commands print or keep from that of the plain model, which
reads the text alone.

Made by `python -m tests.model_classes`; `python -m tests.model_classes bert` tries one type again.

When a model is loaded, texts of unequal length go through the adapter, alone and together, and through the plain model.
The fastest way that agrees to 1e-4 nats is used; in bfloat16 and float16, whose rounding is coarser, to 0.05 nats or
1 % of the log-probabilities. What was found is kept in `mcmc-text/routes.json` under `XDG_CACHE_HOME` (`~/.cache`), so
that a model is tried once.
"""


def counts(found: Mapping[str, Mapping[str, Any]]) -> Counter[str]:
    """How many classes have each outcome; one that has several counts for each."""
    return Counter(part for outcome in found.values() for part in outcome["outcome"].split(", "))


def page(found: Mapping[str, Mapping[str, Any]]) -> str:
    """The whole page, in Markdown."""
    number, run = counts(found), [each for each in found.values() if "score" in each]
    lines = [INTRODUCTION.format(version=version("transformers"))]
    lines += [
        f"{len(found)} classes, {len(run)} of them run:",
        "",
        "| outcome | classes | what it means |",
        "|---|---|---|",
    ]
    lines += [f"| {name} | {number[name]} | {what} |" for name, what in MEANING.items() if number[name]]
    worst = max((max(each["score"], each["kept"]) for each in run), default=0.0)
    lines += ["", f"The largest difference of a class that is run: {worst:.1g} nats.", ""]
    for task, title in {"masked": "Masked", "causal": "Causal", "seq2seq": "Encoder-decoder"}.items():
        lines += [f"## {title}", "", "| type | class | outcome | score | kept |", "|---|---|---|---|---|"]
        for which, outcome in sorted(found.items()):
            if which.split()[0] == task:
                lines.append(_row(which.split()[1], outcome))
        lines.append("")
    return "\n".join(lines)


def _row(model_type: str, outcome: Mapping[str, Any]) -> str:
    numbers = [f"{outcome[name]:.0e}" if name in outcome else "" for name in ("score", "kept")]
    why = outcome.get("why", "").replace("|", "\\|").replace("<", "\\<").replace("_", "\\_")
    said = outcome["outcome"] + (f": {why}" if why else "")
    return f"| {model_type} | {outcome.get('class', '')} | {said} | {numbers[0]} | {numbers[1]} |"
