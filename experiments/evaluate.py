"""The experiments on held-out sentences, beside the figures that they have to be compared with.

The corpus folder is that of ``train-embedded``; only the last 10,000 rows of a file, which no embedded model was
trained on, are used.
"""

from __future__ import annotations

import random
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from lm_adapters import CausalLM, MaskedLM

__all__ = ["command", "evaluate_infill", "evaluate_keywords", "evaluate_paraphrase", "evaluate_translate"]

CHAINS = 4


def evaluate_keywords(corpus: Path, *, count: int = 50, steps: int = 400, seed: int = 0) -> dict[str, Any]:
    """``keywords`` on words of held-out sentences: coverage, energy beside those sentences' own, acceptance."""
    from experiments.keywords import keywords

    lm, scorer = _models()
    tried, accepted = Counter[str](), Counter[str]()
    covered, per_token, texts = [], [], set()
    sentences = []
    for words, sentence in _keyword_sets(corpus, count, seed):
        run = keywords(words, model=lm, scorer=scorer, chains=CHAINS, steps=steps, burn_in=steps // 2, seed=seed)
        sentences.append(sentence)
        last = run.trace.draws[:, -1]
        for text in run.space.decode(last):
            covered.append(all(re.search(rf"\b{re.escape(word)}\b", text) for word in words))
            texts.add(text)
        per_token += (run.trace.energy[:, -1] / (run.space.lengths(last) + 1)).tolist()
        for kind, moves in run.trace.moves.items():
            tried[kind] += moves.tried
            accepted[kind] += moves.accepted
    own = scorer.energy()(scorer.space.encode(sentences)) / (scorer.space.lengths(scorer.space.encode(sentences)) + 1)
    return {
        "sets of words": count,
        "texts": len(covered),
        "coverage": f"{statistics.mean(covered):.0%}",
        "median nats a token": f"{statistics.median(per_token):.2f}",
        "held-out sentences": f"{own.median().item():.2f}",
        "accepted by move": ", ".join(f"{kind} {accepted[kind] / tried[kind]:.0%}" for kind in tried),
        "distinct texts": len(texts),
    }


def evaluate_infill(corpus: Path, *, count: int = 200, steps: int = 60, seed: int = 0) -> dict[str, Any]:
    """``infill`` of two masked tokens, beside filling each mask by its own likeliest token."""
    from experiments.infill import infill
    from lm_adapters import Template

    lm, scorer = _models()
    fluency = scorer.energy()
    rng = random.Random(seed)
    figures: dict[str, list[float]] = defaultdict(list)
    for sentence, template in _templates(corpus, lm, count, rng):
        run = infill(
            template, model=lm, scorer=scorer, sampler="anneal", chains=CHAINS, steps=steps, burn_in=0, seed=seed
        )
        lock = Template(lm.space, template)
        masked = lock.masks([[fewest for fewest, _ in lock.slots]])
        hidden = masked == lm.space.mask_id
        greedy = masked.masked_scatter(hidden, lm.conditionals(masked, hidden).argmax(dim=1))
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

    lm, scorer = _models()
    pairs = _pairs(corpus, "tatoeba.eng-paraphrase.tsv.gz", count, seed)
    written = []
    for source, _ in pairs:
        run = paraphrase(source, model=lm, scorer=scorer, chains=CHAINS, steps=steps, burn_in=0, seed=seed)
        written.append(run.best())
    sources, references = [a for a, _ in pairs], [b for _, b in pairs]
    return {
        "pairs": count,
        **{f"paraphrase, {name}": value for name, value in _ibleu(written, references, sources).items()},
        **{f"copy, {name}": value for name, value in _ibleu(sources, references, sources).items()},
        "changed": f"{statistics.mean(a != b for a, b in zip(written, sources, strict=True)):.0%}",
    }


def evaluate_translate(corpus: Path, *, count: int = 100, steps: int = 200, seed: int = 0) -> dict[str, Any]:
    """``translate`` of held-out French with one word of the reference required, and the model's own translations."""
    from sacrebleu.metrics import BLEU

    from experiments.translate import TASK, translate
    from lm_adapters import MaskedLM, Seq2SeqLM

    lm, scorer = MaskedLM.from_pretrained("masked-en"), Seq2SeqLM.from_pretrained("seq2seq-en")
    rng = random.Random(seed)
    pairs = _pairs(corpus, "tatoeba.eng-fra.tsv.gz", count, seed, wanted=lambda english, _: bool(_words(english)))
    own, free, bound, covered, had = [], [], [], [], []
    shared = {"model": lm, "scorer": scorer, "chains": CHAINS, "steps": steps, "burn_in": 0, "seed": seed}
    for english, french in pairs:
        word = rng.choice(_words(english))
        own.append(scorer.translate(french, prefix=scorer.task_prefix(TASK)))
        free.append(translate(french, **shared).best())
        bound.append(translate(french, must_contain=[word], **shared).best())
        covered.append(bool(re.search(rf"\b{re.escape(word)}\b", bound[-1])))
        had.append(bool(re.search(rf"\b{re.escape(word)}\b", own[-1])))
    references = [[english for english, _ in pairs]]
    return {
        "pairs": count,
        "coverage": f"{statistics.mean(covered):.0%}",
        "coverage of beam search": f"{statistics.mean(had):.0%}",
        "BLEU, word required": f"{BLEU().corpus_score(bound, references).score:.1f}",
        "BLEU, none required": f"{BLEU().corpus_score(free, references).score:.1f}",
        "BLEU, beam search": f"{BLEU().corpus_score(own, references).score:.1f}",
    }


def _models() -> tuple[MaskedLM, CausalLM]:
    from lm_adapters import CausalLM, MaskedLM

    return MaskedLM.from_pretrained("masked-en"), CausalLM.from_pretrained("causal-en")


def _held_out(corpus: Path, name: str) -> list[str]:
    from experiments.training.data import HELD_OUT, read_rows

    return read_rows(corpus, name)[-HELD_OUT:]


def _sentences(corpus: Path, count: int, rng: random.Random, *, least: int) -> list[str]:
    """Of ``least`` to 14 words."""
    rows = [row for row in _held_out(corpus, "tatoeba.eng.txt.gz") if least <= len(row.split()) <= 14]
    return rng.sample(rows, count)


def _words(text: str) -> list[str]:
    """Words long enough to carry meaning."""
    return re.findall(r"\b[a-z]{4,}\b", text)


def _keyword_sets(corpus: Path, count: int, seed: int) -> list[tuple[list[str], str]]:
    """Two to four words of a held-out sentence, in their order, and the sentence."""
    rng = random.Random(seed)
    found = []
    for sentence in _sentences(corpus, 10 * count, rng, least=5):
        words = _words(sentence)
        if len(words) >= 2 and len(found) < count:
            at = sorted(rng.sample(range(len(words)), min(len(words), rng.randint(2, 4))))
            found.append(([words[i] for i in at], sentence))
    return found


def _pairs(
    corpus: Path, name: str, count: int, seed: int, wanted: Callable[[str, str], bool] = lambda a, b: True
) -> list[tuple[str, str]]:
    rows = [tuple(row.split("\t")) for row in _held_out(corpus, name)]
    return random.Random(seed).sample([(a, b) for a, b in rows if wanted(a, b)], count)


def _templates(corpus: Path, lm: MaskedLM, count: int, rng: random.Random) -> Iterator[tuple[str, str]]:
    """Sentences, and the same with two words, each one token, put behind masks."""
    for sentence in _sentences(corpus, 2 * count, rng, least=6):
        words = sentence.split(" ")
        single = [i for i, word in enumerate(words) if word.isalpha() and len(lm.space.encode([word])[0]) == 1]
        if len(single) >= 2 and count > 0:
            for index in rng.sample(single, 2):
                words[index] = "[MASK]"
            count -= 1
            yield sentence, " ".join(words)


def _ibleu(written: Sequence[str], references: Sequence[str], sources: Sequence[str]) -> Mapping[str, str]:
    """Corpus BLEU to the reference and to the source, and iBLEU, 0.9 of the first less 0.1 of the second."""
    from sacrebleu.metrics import BLEU

    reference = BLEU().corpus_score(list(written), [list(references)]).score
    source = BLEU().corpus_score(list(written), [list(sources)]).score
    return {
        "BLEU to reference": f"{reference:.1f}",
        "BLEU to source": f"{source:.1f}",
        "iBLEU": f"{0.9 * reference - 0.1 * source:.1f}",
    }


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
