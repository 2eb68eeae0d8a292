"""The models' cards, as jinja2 templates that see recipe, figures and config; ``card.py`` fills them in."""

from __future__ import annotations

__all__ = ["CAUSAL", "KINDS", "MASKED", "PAIRS", "SEQ2SEQ", "TRAINING"]

MASKED = """\
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

On the {{ "{:,}".format(figures.sentences) }} held-out sentences, each token masked by itself:\
 {{ "%.3f" % figures.nats_per_token }} nats a token,
**{{ "%.4f" % figures.nats_per_character }} nats a character**.

## Training

From random weights. In a pass every sentence of Tatoeba is read once, and {{ "%.0f" % (100 * books) }} % of those from
books, others each time. Of each a share 0.1 + 0.9 u^{{ mask_power }} is hidden, u uniform.

{% include "training" %}
`learning_curve.jsonl` has the figures along the way, on the first 500 held-out sentences. The command:

    mcmc-text train-embedded --corpus CORPUS --out OUT --seed {{ recipe.seed }} --threads\
 {{ recipe.threads }} --device {{ recipe.device }} --steady {{ recipe.steady }}

The tokenizer is a cased byte-level BPE of 8,192 entries trained on English and French; 27 of them were spare, for
models that share the vocabulary.

## Data, licence, attribution

English sentences, and French ones for the tokenizer, from Tatoeba (tatoeba.org), taken from the files at
manythings.org/anki, licensed CC BY 2.0 FR, and English sentences from 100 books published by 1930 (Standard Ebooks,
CC0; believed to be in the US public domain). The last 10,000 rows of each file were held out, and the held-out
sentences of Tatoeba from both. None of the sentences is part of this project; the weights, computed from them, are
shared under the licence of the first, with this attribution.

## Limits

Short everyday sentences, with the names, topics and habits of that collection ("Tom" is everywhere). It knows nothing
of the world, nothing after a sentence's end, and may repeat prejudices found in the data.
"""

# Included by those of seq2seq models as "pairs".
PAIRS = """\
| task | pairs | nats a target token, end included | nats a target |
|---|---|---|---|
{% for task, nats in figures.nats_per_token.items() -%}
| {{ task }} | {{ "{:,}".format(figures.pairs[task]) }} | {{ "%.3f" % nats }}\
 | {{ "%.2f" % figures.nats_per_target[task] }} |
{% endfor %}
"""

# Included by all as "training".
TRAINING = """\
{{ recipe.steps }} steps, {{ tokens }} tokens ({{ epochs }} passes over {{ epoch_tokens }}), {{ time }}, products of
matrices in bfloat16. Muon for the matrices of the layers, AdamW for the rest, {{ rates }}.

| | |
|---|---|
| rate | {{ recipe.rate }}, falling to 0 in the last {{ recipe.decay }} steps |
| batch, tokens | {{ recipe.batch_tokens }} |
| dropout, weight decay | {{ recipe.dropout }}, {{ recipe.weight_decay }} |
| weights averaged over | about {{ recipe.window }} steps |
"""

CAUSAL = """\
---
license: cc-by-2.0
language: en
library_name: transformers
pipeline_tag: text-generation
---

# causal-en

A small causal language model for English, made to score sentences: Llama architecture (RMSNorm, rotary positions, gated
feed-forward, tied embeddings), {{ layers }} layers of width {{ width }}, {{ parameters }} parameters, float16 weights.
It ships with mcmc-text. A text is read as `<s> text </s>`: it begins after `<s>` and ends with `</s>`, so that the
probabilities of all texts add up to 1.

## Figures

On held-out sentences, text and end:

| | sentences | nats a sentence | nats a token, the end counted as one | nats a character, the end counted as none |
|---|---|---|---|---|
| Tatoeba | {{ "{:,}".format(figures.sentences) }} | **{{ "%.2f" % figures.nats_per_sentence }}**\
 | {{ "%.3f" % figures.nats_per_token }} | {{ "%.4f" % figures.nats_per_character }} |
| books | {{ "{:,}".format(figures.sentences) }} | {{ "%.2f" % figures.books.nats_per_sentence }}\
 | {{ "%.3f" % figures.books.nats_per_token }} | {{ "%.4f" % figures.books.nats_per_character }} |

## Training

From random weights. In a pass every sentence of Tatoeba is read once, and {{ "%.0f" % (100 * books) }} % of those from
books, others each time.

{% include "training" %}
`learning_curve.jsonl` has the figures along the way, on the first 1,000 held-out rows of each. The command:

    mcmc-text train-embedded causal-en --corpus CORPUS --out OUT --seed {{ recipe.seed }} --threads\
 {{ recipe.threads }} --device {{ recipe.device }} --steady {{ recipe.steady }}

The tokenizer is that of masked-en.

## Data, licence, attribution

English sentences from Tatoeba (tatoeba.org), taken from the files at manythings.org/anki, licensed CC BY 2.0 FR, and
from 100 books published by 1930 (Standard Ebooks, CC0; believed to be in the US public domain). The last 10,000 rows of
each file were held out, and the held-out sentences of Tatoeba from both. None of the sentences is part of this project;
the weights, computed from them, are shared under the licence of the first, with this attribution.

## Limits

Short everyday sentences, one at a time, with the names, topics and habits of that collection ("Tom" is everywhere). It
knows nothing of the world, nothing after a sentence's end, and may repeat prejudices found in the data.
"""

SEQ2SEQ = """\
---
license: cc-by-2.0
language:
- en
- fr
- de
library_name: transformers
pipeline_tag: translation
---

# seq2seq-en

A small seq2seq model that writes English sentences from a few of their words, fills gaps, translates French and German
to English, paraphrases English, and mends English that lost its words: T5 1.1 architecture with tied embeddings,
{{ layers }} encoder and {{ config.num_decoder_layers }} decoder layers of width {{ width }},
{{ parameters }} parameters, float16 weights. It ships with mcmc-text.

The source's first token says what to do; `config.task_specific_params` has the same table:

| task | prefix | source | target |
|---|---|---|---|
| words_to_sentence | `<extra_3>` | words of a sentence, in its order or another | English sentence |
| infill | `<extra_4>` | English sentence with `<extra_6>` for a span of 0 to 10 tokens | the span |
| translation_fr_to_en | `<extra_1>` | French sentence | English sentence |
| translation_de_to_en | `<extra_5>` | German sentence | English sentence |
| paraphrase | `<extra_0>` | English sentence | another that means the same |
| denoise | `<extra_2>` | English sentence with words deleted, masked, moved | the sentence |

Of the words of a sentence mostly 1 to 5 are given, rare ones more often, as they are spelled in it, without
punctuation; three in ten times in another order. The encoder reads `prefix text </s>`, as
`tokenizer("<extra_1>Bonjour.")` gives it; the decoder starts at `<pad>` and writes `text </s>`.

## Figures

On held-out pairs; outputs by beam search, 4 beams; BLEU by sacrebleu, one reference.

{% include "pairs" -%}
Translation of {{ figures.translation_fr_to_en.pairs }} French sentences:\
 **BLEU {{ "%.1f" % figures.translation_fr_to_en.bleu }}**; of {{ figures.translation_de_to_en.pairs }} German ones:\
 **BLEU {{ "%.1f" % figures.translation_de_to_en.bleu }}**.

Paraphrases of {{ figures.paraphrase.pairs }} sentences, with iBLEU = 0.9 BLEU against the reference - 0.1 BLEU against
the source:

| | BLEU, reference | BLEU, source | iBLEU |
|---|---|---|---|
{% for who, scores in figures.paraphrase.scores.items() -%}
| {{ {"model": "this model", "copy": "copying the source"}[who] }}\
 | {{ "%.1f" % scores.bleu_reference }} | {{ "%.1f" % scores.bleu_source }} | {{ "%.1f" % scores.ibleu }} |
{% endfor %}
## Training

It began with the weights of the seq2seq-en shipped before, trained for 24 M tokens without dropout. Of the examples
{%- for task, share in shares.items() %}
{{ "%.0f" % (100 * share) }} % were {{ task }}{{ ";" if loop.last else "," }}{% endfor %}
noise was drawn anew each time. Tokens are those of source and target:

{% include "training" %}
`learning_curve.jsonl` has the figures along the way, on the first {{ quick_check }} held-out pairs of each task. The
command:

    mcmc-text train-embedded seq2seq-en --corpus CORPUS --out OUT --seed {{ recipe.seed }} --threads\
 {{ recipe.threads }} --device {{ recipe.device }} --steady {{ recipe.steady }}

The tokenizer has the vocabulary of masked-en; it puts no `<s>` before a text.

## Data, licence, attribution

English sentences, French-English and German-English pairs, and pairs of English sentences that share a translation,
from Tatoeba (tatoeba.org), taken from the files at manythings.org/anki, licensed CC BY 2.0 FR; English sentences from
100 books published by 1930 (Standard Ebooks, CC0; believed to be in the US public domain). None of the sentences is
part of this project; the weights, computed from them, are shared under the licence of the first, with this attribution.

Held out: the last 10,000 rows of each file, and every pair with a side in the last 10,000 English sentences. The
translations judged here have a held-out English side and a French side that is in no training pair; the paraphrases are
from the last rows of their file, neither side in a training pair, though one may have been met as a sentence by itself
or as a translation.

## Limits

Short everyday sentences, with the names, topics and habits of that collection ("Tom" is everywhere). The paraphrase
pairs come from shared translations and are noisy: many differ in a word, some in meaning. It knows nothing of the
world, nothing beyond one sentence, and may repeat prejudices found in the data.
"""

KINDS = """\
---
license: cc-by-2.0
language: en
library_name: transformers
pipeline_tag: text-classification
---

# kinds-en

A tiny classifier of English sentences, made to be an energy: BERT architecture, {{ layers }} layers of width
{{ width }}, {{ parameters }} parameters, float16 weights. It ships with mcmc-text. Labels:
statement, question, command. It reads words only: its tokenizer drops full stops, question and exclamation marks before
anything else.

## Figures

On held-out sentences, without their marks, the share that is told right: of all, and of those whose first word agrees
with the kind (see below), which is the cleaner measure.

| kind | sentences | told right | first word agrees | told right |
|---|---|---|---|---|
{% for kind, share in figures.kinds.items() -%}
| {{ kind }} | {{ "{:,}".format(figures.counts[kind]) }} | {{ "%.1f" % (100 * share) }} %\
 | {{ "{:,}".format(figures.agreeing.counts[kind]) }} | {{ "%.1f" % (100 * figures.agreeing.kinds[kind]) }} % |
{% endfor %}
On average over the kinds **{{ "%.1f" % (100 * figures.accuracy) }} %** of all, and\
 {{ "%.1f" % (100 * figures.agreeing.accuracy) }} % of those.

## Training

A sentence is a question if it and its translations end in a question mark, a statement if it and its translations end
in a full stop, and a command if it ends in a full stop and all its French and German translations in an exclamation
mark, as those languages write commands. So the kinds are what translators made of them, and not clean: many commands
have a full stop in German too, and an outcry ("You're a genius.") an exclamation mark. What it learns from is therefore
cleaned by first words: where more than a tenth of the sentences that begin so are commands, the statements among them
are left out, and elsewhere the commands. Only single sentences without quotation. In the loss each kind has the same
weight in all: its probabilities are those of a text of which each kind is as likely beforehand.

{% include "training" %}
`learning_curve.jsonl` has the figures along the way, on the first {{ quick_check }} held-out sentences. The command:

    mcmc-text train-embedded kinds-en --corpus CORPUS --out OUT --seed {{ recipe.seed }} --threads\
 {{ recipe.threads }} --device {{ recipe.device }} --steady {{ recipe.steady }}

## Data, licence, attribution

French-English and German-English pairs from Tatoeba (tatoeba.org), taken from the files at manythings.org/anki,
licensed CC BY 2.0 FR. The last 10,000 rows of each file were held out, and every pair whose English is in the last
10,000 English sentences; the figures are of those. None of the sentences is part of this project; the weights, computed
from them, are shared under the same licence with this attribution.

## Limits

Single everyday sentences. A statement that asks ("I wonder who he is.") is a statement, a question that is none ("Would
you close the door?") a question. It knows nothing of what a text means otherwise.
"""
