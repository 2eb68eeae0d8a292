"""The experiments on held-out sentences, beside the figures that they have to be compared with.

The corpus folder is that of ``train-embedded``; only rows that it holds out from all embedded models are used.
"""

from __future__ import annotations

import math
import random
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from lm_adapters import CausalLM, MaskedLM

__all__ = ["command", "evaluate_infill", "evaluate_keywords", "evaluate_paraphrase", "evaluate_translate"]

CHAINS = 4

T = TypeVar("T")


def evaluate_keywords(corpus: Path, *, count: int = 50, steps: int = 400, seed: int = 0) -> dict[str, Any]:
    """``keywords`` on words of held-out sentences: coverage, energy beside those sentences' own, acceptance."""
    from experiments.keywords import keywords
    from lm_adapters import SequenceEnergy

    lm, scorer = _models()
    tried, accepted = Counter[str](), Counter[str]()
    covered, per_token, texts = [], [], set()
    sentences = []
    for words, sentence in _enough(_keyword_sets(corpus, count, seed), count):
        run = keywords(words, model=lm, scorer=scorer, chains=CHAINS, steps=steps, warmup=steps // 2, thin=1, seed=seed)
        sentences.append(sentence)
        last = run.trace.draws[:, -1]
        for text in run.space.decode(last):
            covered.append(all(re.search(rf"\b{re.escape(word)}\b", text) for word in words))
            texts.add(text)
        per_token += (run.trace.energy[:, -1] / (run.space.lengths(last) + 1)).tolist()
        for kind, moves in run.trace.moves.items():
            tried[kind] += moves.tried
            accepted[kind] += moves.accepted
    x = scorer.space.encode(sentences)
    own = SequenceEnergy(scorer.condition_on())(x) / (scorer.space.lengths(x) + 1)
    return {
        "sets of words": count,
        "texts": len(covered),
        "coverage": f"{statistics.mean(covered):.0%}",
        "median nats a token": f"{statistics.median(per_token):.2f}",
        "held-out sentences": f"{own.median().item():.2f}",
        "accepted by move": ", ".join(f"{kind} {accepted[kind] / n:.0%}" for kind, n in tried.items() if n),
        "distinct texts": len(texts),
    }


def evaluate_infill(corpus: Path, *, count: int = 200, steps: int = 60, seed: int = 0) -> dict[str, Any]:
    """``infill`` of two masked tokens, beside filling each mask by its own likeliest token."""
    from experiments.infill import infill
    from lm_adapters import SequenceEnergy, Template

    lm, scorer = _models()
    fluency, mask = SequenceEnergy(scorer.condition_on()), lm.space.mask_id
    assert mask is not None, "a masked language model has a mask token"
    rng = random.Random(seed)
    figures: dict[str, list[float]] = defaultdict(list)
    for sentence, template in _enough(list(_templates(corpus, lm, count, rng)), count):
        run = infill(template, model=lm, scorer=scorer, sampler="anneal", chains=CHAINS, steps=steps, seed=seed)
        lock = Template(lm.space, template)
        masked = lock.masks([[fewest for fewest, _ in lock.slots]])
        hidden = masked.eq(mask)
        likeliest = lm.logits(masked, hidden).masked_fill(~lm.allowed, -math.inf).argmax(dim=1)
        greedy = masked.masked_scatter(hidden, likeliest)
        figures["joint exact"].append(float(run.best() == sentence))
        figures["greedy exact"].append(float(lm.space.decode(greedy)[0] == sentence))
        figures["joint"].append(run.found.energy.min().item())
        figures["greedy"].append(fluency(greedy).item())
        figures["held-out"].append(fluency(lm.space.encode([sentence])).item())
    return {
        "sentences": count,
        "exact match, joint": f"{statistics.mean(figures['joint exact']):.1%}",
        "exact match, each greedily": f"{statistics.mean(figures['greedy exact']):.1%}",
        "nats a text, joint": f"{statistics.mean(figures['joint']):.2f}",
        "nats a text, each greedily": f"{statistics.mean(figures['greedy']):.2f}",
        "nats a text, held-out": f"{statistics.mean(figures['held-out']):.2f}",
    }


def evaluate_paraphrase(corpus: Path, *, count: int = 100, steps: int = 200, seed: int = 0) -> dict[str, Any]:
    """``paraphrase`` of held-out pairs: BLEU to the reference and to the source, beside a copy of the source."""
    from experiments.paraphrase import paraphrase
    from experiments.training.bleu import paraphrase_figures
    from experiments.training.data import paraphrase_split

    lm, scorer = _models()
    held_out = paraphrase_split(corpus)[1]
    # A source with a token that is never proposed is refused: one in five hundred.
    pairs = _enough([pair for pair in held_out if bool(lm.allowed[lm.space.encode([pair[0]])[0]].all())], count)
    written = []
    for source, _ in pairs:
        run = paraphrase(source, model=lm, scorer=scorer, chains=CHAINS, steps=steps, seed=seed)
        written.append(run.best())
    scores = paraphrase_figures(lambda _: written, pairs)["scores"]
    names = ("paraphrase", "copy of the source")
    return {
        "pairs": count,
        **{
            f"{name}, {figure.replace('_', ' to ')}": f"{value:.1f}"
            for name, of_it in zip(names, scores.values(), strict=True)
            for figure, value in of_it.items()
        },
        "changed": f"{statistics.mean(text != source for text, (source, _) in zip(written, pairs, strict=True)):.0%}",
    }


def evaluate_translate(corpus: Path, *, count: int = 100, steps: int = 200, seed: int = 0) -> dict[str, Any]:
    """``translate`` of held-out French with one word of the reference required, and the model's own translations."""
    from experiments.setup.scorers import source_prefix
    from experiments.training.data import translation_split
    from experiments.translate import translate
    from lm_adapters import MaskedLM, Seq2SeqLM

    lm, scorer = MaskedLM.from_pretrained("masked-en"), Seq2SeqLM.from_pretrained("seq2seq-en")
    rng = random.Random(seed)
    pairs = _enough([pair for pair in translation_split(corpus)[1] if _words(pair[1])], count)
    own, free, bound, covered, had = [], [], [], [], []
    shared = {"model": lm, "scorer": scorer, "chains": CHAINS, "steps": steps, "seed": seed}
    for french, english in pairs:
        word = rng.choice(_words(english))
        own.append(scorer.translate(french, prefix=source_prefix(scorer)))
        free.append(translate(french, **shared).best())
        bound.append(translate(french, must_contain=[word], **shared).best())
        covered.append(bool(re.search(rf"\b{re.escape(word)}\b", bound[-1])))
        had.append(bool(re.search(rf"\b{re.escape(word)}\b", own[-1])))
    written = {"word required": bound, "none required": free, "beam search": own}
    return {
        "pairs": count,
        "coverage": f"{statistics.mean(covered):.0%}",
        "coverage of beam search": f"{statistics.mean(had):.0%}",
        **{f"BLEU, {name}": f"{_bleu(texts, pairs):.1f}" for name, texts in written.items()},
    }


def _bleu(texts: list[str], pairs: list[tuple[str, str]]) -> float:
    from experiments.training.bleu import translation_figures

    return float(translation_figures(lambda _: texts, pairs)["bleu"])


def _models() -> tuple[MaskedLM, CausalLM]:
    from lm_adapters import CausalLM, MaskedLM

    return MaskedLM.from_pretrained("masked-en"), CausalLM.from_pretrained("causal-en")


def _sentences(corpus: Path, count: int, rng: random.Random, *, fewest: int) -> list[str]:
    """At most ``count`` held-out sentences of ``fewest`` to 14 words."""
    from experiments.training.data import english_split

    rows = [row for row in english_split(corpus)[1] if fewest <= len(row.split()) <= 14]
    return rng.sample(rows, min(count, len(rows)))


def _enough(rows: list[T], count: int) -> list[T]:
    """``count`` of them. Raises ``InvalidInput`` where there are fewer."""
    from samplers import InvalidInput

    if len(rows) < count:
        raise InvalidInput(f"--count is {count}, but of --corpus only {len(rows)} held-out rows can be used; lower it")
    return rows[:count]


def _words(text: str) -> list[str]:
    """Words long enough to carry meaning."""
    return re.findall(r"\b[a-z]{4,}\b", text)


def _keyword_sets(corpus: Path, count: int, seed: int) -> list[tuple[list[str], str]]:
    """Two to four words of a held-out sentence, in their order, and the sentence."""
    rng = random.Random(seed)
    found: list[tuple[list[str], str]] = []
    for sentence in _sentences(corpus, 10 * count, rng, fewest=5):
        words = _words(sentence)
        if len(words) >= 2 and len(found) < count:
            at = sorted(rng.sample(range(len(words)), min(len(words), rng.randint(2, 4))))
            found.append(([words[i] for i in at], sentence))
    return found


def _templates(corpus: Path, lm: MaskedLM, count: int, rng: random.Random) -> Iterator[tuple[str, str]]:
    """Sentences, and the same with two words, each one token, put behind masks."""
    for sentence in _sentences(corpus, 2 * count, rng, fewest=6):
        words = sentence.split(" ")
        single = [i for i, word in enumerate(words) if word.isalpha() and len(lm.space.encode([word])[0]) == 1]
        if len(single) >= 2 and count > 0:
            for index in rng.sample(single, 2):
                words[index] = "[MASK]"
            count -= 1
            yield sentence, " ".join(words)


EVALUATIONS = {
    "keywords": evaluate_keywords,
    "infill": evaluate_infill,
    "paraphrase": evaluate_paraphrase,
    "translate": evaluate_translate,
}


@click.command("evaluate")
@click.argument("experiment", type=click.Choice(list(EVALUATIONS)))
@click.option("--corpus", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True,
              help="Folder with the tatoeba.*.gz files.")  # fmt: skip
@click.option("--count", type=click.IntRange(min=1), help="Held-out rows.  [default: 50 to 200, by experiment]")
@click.option("--steps", type=click.IntRange(min=2), help="Steps a run.  [default: 60 to 400, by experiment]")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
def command(experiment: str, corpus: Path, seed: int, **counts: int | None) -> None:
    """An EXPERIMENT on held-out sentences, beside what it has to be compared with."""
    given = {name: value for name, value in counts.items() if value is not None}
    for name, value in EVALUATIONS[experiment](corpus, seed=seed, **given).items():
        click.echo(f"{name:<28} {value}")
