"""A short sentence for a long one: likely under a language model, with near embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from experiments.declaration.arguments import Option
from experiments.declaration.wording import argument
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
    from torch import Tensor

    from experiments.results.protocol import Run
    from lm_adapters import CausalLM, MaskedLM

__all__ = ["summarize"]


def check(settings: Settings, *, text: str, max_words: int, **_: object) -> None:
    """Raise ``InvalidInput`` for a text that is no longer than its summary may be, or not in the user's words."""
    from lm_adapters import word_spans
    from samplers import InvalidInput

    if (count := len(word_spans(text))) <= max_words:
        raise InvalidInput(
            f"{argument('text')} has {count} words and {argument('max_words')} is {max_words}; give a smaller number"
        )
    check_words(settings.word_list, "text", [text])


@experiment(check=check)
def summarize(
    job: Job,
    text: Annotated[str, Option("What to summarize.")],
    *,
    max_words: Annotated[int, Option("Words that the summary may have.", minimum=1)],
    sampler: Annotated[Literal["anneal", "mh"], ANNEAL_OR_SAMPLE] = "anneal",
    scorer: Annotated[str | CausalLM | MaskedLM, SCORER] = "causal-en",
    encoder: Annotated[str | None, ENCODER] = None,
    similarity: Annotated[float, SIMILARITY] = 100.0,
) -> Run:
    """TEXT in at most so many words: likely under a language model, with near embeddings.

    Texts of at most ``max_words`` words, likely by ``exp(-(fluency + similarity * S))``. ``S = -log cos`` of the
    sentence embeddings of the summary and ``text``; both terms are nats of a sentence. Chains start from ``max_words``
    neighbouring words of ``text``, each from another place.

    Raises ``InvalidInput`` for a text that is no longer than the summary may be, or that the models cannot take.
    """
    from lm_adapters import Similarity, WordLimit

    lm = job.masked_lm()
    source, longest = encode_source(lm, text, 1, longer=0, name="text")
    scored = load_scorer(scorer, lm, job.settings)
    remark_on_language("text", [text], scored.lm, lm)
    meaning = load_meaning(encoder, lm, job.settings)
    terms = WordLimit(lm.space, max_words) + scored.terms + similarity * Similarity(lm.space, meaning, text)
    constraints = job.constraints(lm, [text, *lm.space.decode(source)])
    energy = job.with_custom(terms, lm.space, constraints)
    x0 = _starts(lm, text, max_words, job.settings.chains, source.shape[1])
    models = {"model": lm, "scorer": scored.lm, "encoder": meaning}
    scored_by = {"fluency": job.named("scorer", scored.model), "similarity": job.named("encoder", lm.model)}
    problem = Problem(lm.space, energy, x0, models, lengths=(1, longest), scored_by=scored_by)
    kernel = edit_kernel(lm, max_length=longest, swap=True, temperature=job.settings.temperature)
    return sample_or_search(problem, kernel, sampler, job)


def _starts(lm: MaskedLM, text: str, max_words: int, chains: int, width: int) -> Tensor:
    """``int64 [chains, width]``: neighbouring words of the text, each chain from another place."""
    from lm_adapters import word_spans

    words = word_spans(text)
    places = len(words) - max_words + 1
    firsts = (chain % places for chain in range(chains))
    windows = [text[words[i][0] : words[i + max_words - 1][1]] for i in firsts]
    return lm.space.encode(windows, width=width).to(lm.device)
