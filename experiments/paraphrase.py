"""Other words for a sentence: likely under a language model, with near embeddings, far in wording."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from experiments.declaration.arguments import Option
from experiments.entry.experiment import experiment
from experiments.laws.real_words import check_words
from experiments.setup.common_options import ANNEAL_OR_SAMPLE, ENCODER, SCORER, SIMILARITY
from experiments.setup.job import Job
from experiments.setup.kernels import edit_kernel
from experiments.setup.languages import remark_on_language
from experiments.setup.methods import sample_or_search
from experiments.setup.problem import Problem
from experiments.setup.scorers import load_meaning, load_scorer
from experiments.setup.settings import Settings
from experiments.setup.sources import encode_source

if TYPE_CHECKING:
    from experiments.results.protocol import Run
    from lm_adapters import CausalLM, MaskedLM

__all__ = ["paraphrase"]

LONGER = 4  # tokens that a paraphrase may have more than its source


def check(settings: Settings, *, text: str, **_: object) -> None:
    """Raise ``InvalidInput`` for a text that the user's list of words lacks words of."""
    check_words(settings.word_list, "text", [text])


@experiment(check=check)
def paraphrase(
    job: Job,
    text: Annotated[str, Option("What to paraphrase.")],
    *,
    sampler: Annotated[Literal["anneal", "mh"], ANNEAL_OR_SAMPLE] = "anneal",
    scorer: Annotated[str | CausalLM | MaskedLM, SCORER] = "causal-en",
    encoder: Annotated[str | None, ENCODER] = None,
    similarity: Annotated[float, SIMILARITY] = 100.0,
    distance: Annotated[float, Option("Weight of -log(1.01 - BLEU to TEXT).")] = 2.0,
) -> Run:
    """Other words for TEXT: likely under a language model, with near embeddings, far in wording.

    Texts are made likely by ``exp(-(fluency + similarity * S + distance * D))``, started from ``text``. ``fluency`` is
    ``-log p`` under the ``scorer``, ``S = -log cos`` of the sentence embeddings, ``D = -log(1.01 - BLEU)`` against
    ``text``: 4.6 nats for a copy. All three are nats of a sentence, not of a token, so the weights mean the same for
    short and long texts, and a temperature of 1 is the law as written. ``sampler="anneal"`` gives the best text of
    each chain, ``"mh"`` draws.

    Raises ``InvalidInput`` for a text that the models cannot take.
    """
    from lm_adapters import Similarity, SourceBleu

    lm = job.masked_lm()
    source, longest = encode_source(lm, text, job.settings.chains, longer=LONGER, name="text")
    scored = load_scorer(scorer, lm, job.settings)
    remark_on_language("text", [text], scored.lm, lm)
    meaning = load_meaning(encoder, lm, job.settings)
    terms = scored.terms + similarity * Similarity(lm.space, meaning, text)
    terms = terms + distance * SourceBleu(lm.space, text)
    constraints = job.constraints(lm, [text, *lm.space.decode(source[:1])])
    energy = job.with_custom(terms, lm.space, constraints)
    models = {"model": lm, "scorer": scored.lm, "encoder": meaning}
    scored_by = {"fluency": job.named("scorer", scored.model), "similarity": job.named("encoder", lm.model)}
    problem = Problem(lm.space, energy, source, models, lengths=(1, longest), scored_by=scored_by)
    kernel = edit_kernel(lm, max_length=longest, swap=True, temperature=job.settings.temperature)
    return sample_or_search(problem, kernel, sampler, job)
