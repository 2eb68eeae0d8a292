"""The cards of the Chinese models, as jinja2 templates like those of the others."""

from __future__ import annotations

__all__ = ["CAUSAL", "MASKED", "SEQ2SEQ"]

DATA = """\
The tokenizer has a token for each character that is found three times or more in the training rows, and for those of
ASCII; any other character is written by its bytes, so that every text comes back as it was.

## Data, licence, attribution

Mandarin sentences from Tatoeba (tatoeba.org), taken from the files at manythings.org/anki, licensed CC BY 2.0 FR;
couplets of Tang poems, which are in the public domain, from the collection chinese-poetry (MIT). Traditional characters
were made simplified with OpenCC. The last 10,000 rows of each file were held out, and every sentence whose English is
in the last 10,000 English sentences of Tatoeba; the figures are of those sentences and of the last couplets. None of
the rows is part of this project; the weights, computed from them, are shared under the licence of the first, with this
attribution.

## Limits

Short everyday sentences, and couplets of five or seven characters a line; nothing between them, no names but those of
the collections, no knowledge of the world. Few sentences (18,000) were there to learn from. It may repeat prejudices
found in the data.
"""

CAUSAL = (
    """\
---
license: cc-by-2.0
language: zh
library_name: transformers
pipeline_tag: text-generation
---

# causal-zh

A small causal language model for Chinese, sentences of today and couplets of the Tang, character by character: Llama
architecture (RMSNorm, rotary positions, gated feed-forward, tied embeddings), {{ layers }} layers of width {{ width }},
{{ parameters }} parameters, float16 weights. It ships with mcmc-text. A text is read as `<s> text </s>`, so that the
probabilities of all texts add up to 1.

## Figures

On held-out rows, text and end:

| | rows | nats a row | nats a token, the end counted as one | nats a character, the end counted as none |
|---|---|---|---|---|
{% for kind in ("couplets", "sentences") -%}
| {{ kind }} | {{ "{:,}".format(figures.rows[kind]) }} | {{ "%.2f" % figures[kind].nats_per_sentence }}\
 | {{ "%.3f" % figures[kind].nats_per_token }} | **{{ "%.4f" % figures[kind].nats_per_character }}** |
{% endfor %}
A Kneser-Ney {{ order }}-gram of characters, trained on the same rows, has {{ "%.2f" % figures.kneser_ney.couplets }}
nats a couplet and {{ "%.2f" % figures.kneser_ney.sentences }} nats a sentence.

## Training

From random weights. In a pass every couplet is read once, every sentence {{ sentences }} times.

{% include "training" %}
`learning_curve.jsonl` has the figures along the way, on the first {{ quick_check }} held-out rows of each kind. The
command:

    mcmc-text train-embedded causal-zh --corpus CORPUS --out OUT --seed {{ recipe.seed }} --threads\
 {{ recipe.threads }} --device {{ recipe.device }} --steady {{ recipe.steady }}

"""
    + DATA
)

MASKED = (
    """\
---
license: cc-by-2.0
language: zh
library_name: transformers
pipeline_tag: fill-mask
---

# masked-zh

A small masked language model for Chinese, sentences of today and couplets of the Tang, character by character:
ModernBERT architecture, {{ layers }} layers of width {{ width }}, {{ parameters }} parameters, float16 weights. It
ships with mcmc-text.

## Figures

On held-out rows, each character masked by itself:

| | rows | nats a character |
|---|---|---|
{% for kind in ("couplets", "sentences") -%}
| {{ kind }} | {{ "{:,}".format(figures.rows[kind]) }} | **{{ "%.4f" % figures[kind].nats_per_character }}** |
{% endfor %}
## Training

From random weights. In a pass every couplet is read once, every sentence {{ sentences }} times. Of each a share
0.1 + 0.9 u^{{ mask_power }} is hidden, u uniform.

{% include "training" %}
`learning_curve.jsonl` has the figures along the way, on the first {{ quick_check }} held-out rows of each kind. The
command:

    mcmc-text train-embedded masked-zh --corpus CORPUS --out OUT --seed {{ recipe.seed }} --threads\
 {{ recipe.threads }} --device {{ recipe.device }} --steady {{ recipe.steady }}

"""
    + DATA
)

SEQ2SEQ = (
    """\
---
license: cc-by-2.0
language:
- zh
- en
library_name: transformers
pipeline_tag: translation
---

# seq2seq-zh

A small seq2seq model that writes Chinese character by character: sentences of today and couplets of the Tang from a few
of their words, the second line of a couplet, translations of short English sentences, paraphrases. T5 1.1 architecture
with tied embeddings, {{ layers }} encoder and {{ config.num_decoder_layers }} decoder layers of width {{ width }},
{{ parameters }} parameters, float16 weights. It ships with mcmc-text.

The source's first token says what to do; `config.task_specific_params` has the same table:

| task | prefix | source | target |
|---|---|---|---|
| words_to_sentence | `<extra_3>` | words of a text, a blank between two: `春风 明月` | sentence or couplet |
| translation_en_to_zh | `<extra_1>` | English sentence | Chinese sentence |
| next_line | `<extra_2>` | first line of a couplet, with its comma | second line |
| paraphrase | `<extra_0>` | Chinese sentence | another that means the same |

Of the words of a text mostly 1 to 5 are given, of one to three characters each; three in ten times in another order.
The encoder reads `prefix text </s>`, the decoder starts at `<pad>` and writes `text </s>`.

## Figures

On held-out rows:

{% include "pairs" -%}
Outputs by beam search, 4 beams. Of {{ figures.words_to_sentence.words }} words given in\
 {{ figures.words_to_sentence.sources }} sources, **{{ "%.0f" % (100 * figures.words_to_sentence.there) }} %** stand in
the text written. Translation of {{ figures.translation_en_to_zh.pairs }} English sentences:\
 **BLEU {{ "%.1f" % figures.translation_en_to_zh.bleu }}** (sacrebleu, by characters, one reference). Of\
 {{ figures.next_line.lines }} second lines {{ "%.0f" % (100 * figures.next_line.fits) }} % are as long as the first.

## Training

It began with the layers of seq2seq-en and the embeddings of causal-zh, turned so that characters lie where English
words of their translations lay (`experiments/training/chinese/warm_start.py` says how). Of the examples
{%- for task, share in shares.items() %}
{{ "%.0f" % (100 * share) }} % were {{ task }}{{ ";" if loop.last else "," }}{% endfor %}
words were chosen anew each time, of every couplet once where each sentence was there {{ sentences }} times. Tokens are
those of source and target:

{% include "training" %}
`learning_curve.jsonl` has the figures along the way, on the first {{ quick_check }} held-out pairs of each task. The
command:

    mcmc-text train-embedded seq2seq-zh --corpus CORPUS --out OUT --seed {{ recipe.seed }} --threads\
 {{ recipe.threads }} --device {{ recipe.device }} --steady {{ recipe.steady }}

"""
    + DATA
)
