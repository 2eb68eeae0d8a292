"""Export a trained model with its card: everything a user of it is owed."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from transformers import PreTrainedTokenizerFast

from experiments.training.loop import Recipe, held_out_figures

__all__ = ["export"]

CARD = """\
---
license: cc-by-2.0
language: en
library_name: transformers
pipeline_tag: fill-mask
---

# masked-en

A small masked language model for English, made to be sampled from: ModernBERT architecture, {{ layers }} layers of
width {{ width }}, {{ parameters }} parameters, float16 weights. It ships with mcmc-text and is the default of
`mcmc-text gibbs`.

## Figures

On the {{ sentences }} held-out sentences, each token masked by itself: {{ nats_per_token }} nats a token,
**{{ nats_per_character }} nats a character**.

## Training

{{ recipe.steps }} steps, {{ tokens }} tokens ({{ epochs }} passes over {{ epoch_tokens }}), {{ minutes }} minutes on
{{ recipe.threads }} CPU cores in float32. AdamW, rates and batches by phase:

| steps | rate | batch, tokens | masked share of a sentence |
|---|---|---|---|
{% for phase in recipe.phases -%}
| {{ phase.steps }} | {{ phase.rate }} to {{ phase.final_rate }} | {{ phase.batch_tokens }}\
 | 0.1 + 0.9 u^{{ phase.mask_power }} |
{% endfor %}
`learning_curve.jsonl` has the figures along the way, on the first 500 held-out sentences. The command:

    mcmc-text train-embedded --corpus CORPUS --out OUT --seed {{ recipe.seed }} --threads {{ recipe.threads }}

The tokenizer is a cased byte-level BPE of 8,192 entries trained on English and French; 27 of them are spare, for models
that will share the vocabulary.

## Data, licence, attribution

English sentences, and French ones for the tokenizer, from Tatoeba (tatoeba.org), taken from the files at
manythings.org/anki, licensed CC BY 2.0 FR. The last 10,000 rows of each file were held out. None of the sentences is
part of this project; the weights, computed from them, are shared under the same licence with this attribution.

## Limits

Short everyday sentences, with the names, topics and habits of that collection ("Tom" is everywhere). It knows nothing
of the world, nothing after a sentence's end, and may repeat prejudices found in the data.
"""


def export(model: Any, tokenizer: PreTrainedTokenizerFast, recipe: Recipe, run: Path, out: Path, *,
           held_out: list[str], epoch_tokens: int) -> None:  # fmt: skip
    """Write float16 weights, tokenizer, card, ``figures.json`` and the learning curve into ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    # The figures are those of the weights that ship: rounded to float16, computed in float32.
    rounded = model.half().float()
    figures = {
        "task": "masked",
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "sentences": len(held_out),
        **held_out_figures(rounded, tokenizer, held_out),
        "seconds": json.loads((run / "learning_curve.jsonl").read_text().splitlines()[-1])["seconds"],
    }
    rounded.half().save_pretrained(out)
    tokenizer.save_pretrained(out)
    shutil.copy(run / "learning_curve.jsonl", out)
    (out / "figures.json").write_text(json.dumps({**figures, "recipe": asdict(recipe)}, indent=2) + "\n")
    facts = {
        "recipe": recipe,
        "layers": model.config.num_hidden_layers,
        "width": model.config.hidden_size,
        "parameters": f"{figures['parameters'] / 1e6:.2f} M",
        "sentences": f"{len(held_out):,}",
        "nats_per_token": f"{figures['nats_per_token']:.3f}",
        "nats_per_character": f"{figures['nats_per_character']:.4f}",
        "tokens": f"{recipe.tokens / 1e6:.1f} M",
        "epochs": f"{recipe.tokens / epoch_tokens:.1f}",
        "epoch_tokens": f"{epoch_tokens / 1e6:.2f} M",
        "minutes": f"{figures['seconds'] / 60:.0f}",
    }
    card = Environment(undefined=StrictUndefined, keep_trailing_newline=True).from_string(CARD)
    (out / "README.md").write_text(card.render(facts))
