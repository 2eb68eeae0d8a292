"""Other words for a sentence: likely as a paraphrase of it, and not the sentence itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from experiments.declaration.arguments import Option
from experiments.entry.experiment import experiment
from experiments.laws.another import other_than, without_a_word
from experiments.laws.real_words import check_words
from experiments.laws.top_p import check_top_p, said
from experiments.populations.begin import texts_of
from experiments.populations.draw import draw_by_smc
from experiments.setup.common_options import (
    ANNEAL_SAMPLE_OR_SMC,
    ENCODER,
    GIVEN_SIMILARITY,
    MOVES,
    PARTICLES,
    POPULATIONS,
    TOP_P,
    WHITEN,
)
from experiments.setup.job import Job
from experiments.setup.kernels import edit_kernel
from experiments.setup.languages import remark_on_language
from experiments.setup.methods import sample_or_search
from experiments.setup.problem import Problem
from experiments.setup.scorers import Given, check_scorer, load_scorer, rebuilding
from experiments.setup.settings import Settings
from experiments.setup.similarity import check_whitening, similarity_to
from experiments.setup.sources import encode_source
from experiments.starts.inside import starts_inside
from experiments.starts.written import written_starts

if TYPE_CHECKING:
    from experiments.results.protocol import Run
    from lm_adapters import CausalLM, MaskedLM, Seq2SeqLM

__all__ = ["paraphrase"]

TASK = "paraphrase"  # of a seq2seq scorer
LONGER = 4  # tokens that a paraphrase may have more than its source
ANEW, DRAWS = 2.0, 12  # of chains: weight of whole texts, and how many are drawn for each in a step
CLOSE, FAR = 0.5, 2.0  # weights of the distance: where the text itself is left out, and where it is not
NEAR = 100.0  # weight of the similarity where the scorer does not read the source
PARAPHRASE_SCORER = Option(
    "Model that scores the texts: a seq2seq model with the task paraphrase by -log p of a text given TEXT, a causal or "
    "masked one by its fluency, -log p.",
    task=TASK,
)


def check(settings: Settings, *, text: str, top_p: float, whiten: str | None, scorer: object, **_: object) -> None:
    """Raise ``InvalidInput`` for a text that the user's list of words lacks words of, a nucleus that cannot be.

    For a seq2seq scorer without the task, too.
    """
    check_top_p(top_p)
    check_words(settings.word_list, "text", [text])
    check_whitening(whiten)
    check_scorer(scorer, TASK, settings)


@experiment(check=check)
def paraphrase(
    job: Job,
    text: Annotated[str, Option("What to paraphrase.")],
    *,
    sampler: Annotated[Literal["anneal", "mh", "smc"], ANNEAL_SAMPLE_OR_SMC] = "anneal",
    scorer: Annotated[str | CausalLM | MaskedLM | Seq2SeqLM, PARAPHRASE_SCORER] = "seq2seq-en",
    encoder: Annotated[str | None, ENCODER] = None,
    similarity: Annotated[float | None, GIVEN_SIMILARITY] = None,
    whiten: Annotated[str | None, WHITEN] = None,
    distance: Annotated[
        float | None,
        Option(
            "Weight of -log(1.01 - BLEU to TEXT).  [default: 2; 0.5 where a seq2seq model draws texts]",
            energies=["SourceBleu"],
        ),
    ] = None,
    reconstruction: Annotated[
        float,
        Option(
            "Weight of -log p of TEXT given the text, with a seq2seq scorer: what is left out costs.",
            energies=["Reconstruction"],
        ),
    ] = 1.0,
    particles: Annotated[int, PARTICLES] = 128,
    populations: Annotated[int, POPULATIONS] = 4,
    moves: Annotated[int, MOVES] = 8,
    top_p: Annotated[float, TOP_P] = 1.0,
) -> Run:
    """Other words for TEXT: what a model that was trained on paraphrases finds likely, and is not TEXT.

    Texts are made likely by ``exp(-(E + distance * D))``. With a seq2seq ``scorer`` ``E`` is ``paraphrase``, ``-log p``
    of the text given ``text``, plus ``reconstruction * R``, ``R = -log p`` of ``text`` given the text, without which a
    text that leaves half of the meaning out is the likeliest. The model also draws the texts that chains begin with and
    whole texts on the way. A causal or masked ``scorer`` has not read ``text``: with it ``E`` is ``fluency + similarity
    * S``, ``fluency`` its ``-log p`` and ``S = -log cos`` of the sentence embeddings, and chains start from ``text``.
    ``D = -log(1.01 - BLEU)`` against ``text``: 4.6 nats for a copy. Where a seq2seq model draws texts, a copy, case and
    marks aside, is no text of the law. All are nats of a sentence, not of a token, so the weights mean the same for
    short and long texts, and a temperature of 1 is the law as written. ``sampler="anneal"`` gives the best text of each
    chain, ``"mh"`` and ``"smc"`` draw; populations begin with texts that the scorer writes.

    Raises ``InvalidInput`` for a text that the models cannot take, and for a seq2seq model without the task.
    """
    from lm_adapters import Seq2SeqLM, SourceBleu

    lm = job.masked_lm()
    x0, longest = encode_source(lm, text, job.settings.chains, longer=LONGER, name="text")
    given = Given(TASK, text.strip(), TASK, "-log p(text | source)")
    scored = load_scorer(scorer, lm, job.settings, given, top_p=top_p)
    remark_on_language("text", [text], scored.lm, lm)
    reads = isinstance(scored.lm, Seq2SeqLM)
    left_out = isinstance(scored.lm, Seq2SeqLM) and scored.writer is not None
    far = (CLOSE if left_out else FAR) if distance is None else distance
    near = (0.0 if reads else NEAR) if similarity is None else similarity
    terms = scored.terms
    models: dict[str, Any] = {"model": lm, "scorer": scored.lm}
    scored_by = {scored.energy.name: said(job.named("scorer", scored.model), top_p, given=False)}
    if reconstruction and isinstance(scored.lm, Seq2SeqLM):
        terms = terms + reconstruction * rebuilding(scored.lm, lm, text.strip(), TASK)
        scored_by["reconstruction"] = job.named("scorer", scored.model)
    if like := similarity_to(job, lm, text, near, encoder, whiten):
        terms = terms + near * like
        models["encoder"] = like.encoder
        scored_by["similarity"] = job.named("encoder", lm.model)
    constraints = job.constraints(lm, [text, *lm.space.decode(x0[:1])])
    if left_out:
        constraints = [other_than(lm.space, text), *constraints]
    energy = job.with_custom(terms + far * SourceBleu(lm.space, text), lm.space, constraints)
    bounds: dict[str, Any] = {"max_length": longest, "temperature": job.settings.law_temperature}
    if isinstance(scored.lm, Seq2SeqLM) and scored.writer:
        wide = sampler == "anneal"
        x0 = written_starts([scored.writer], [scored.lm], energy, x0, job, min_length=1, max_length=longest, wide=wide)
        x0 = without_a_word(lm.space, text, x0)
        bounds |= {"scorer": scored.energy, "writer": scored.lm, "informed": [scored.writer]}
        if sampler == "mh":
            bounds |= {"anew": ANEW, "tries": DRAWS}
    x0 = starts_inside(scored, top_p, energy, x0, job, models)
    problem = Problem(lm.space, energy, x0, models, lengths=(1, longest), scored_by=scored_by)
    kernel = edit_kernel(lm, swap=True, **bounds)
    if sampler != "smc":
        return sample_or_search(problem, kernel, sampler, job)
    begun = texts_of(scored.writer, None, (1, longest), job.settings.law_temperature, top_p=top_p)
    return draw_by_smc(problem, begun, kernel, job, particles=particles, populations=populations, moves=moves)
