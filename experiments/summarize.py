"""A short sentence for a long one: likely under a language model, and so that the long one can be rebuilt from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from experiments.declaration.arguments import Option
from experiments.declaration.wording import argument
from experiments.entry.experiment import experiment
from experiments.laws.ending import ends_as_sentence
from experiments.laws.real_words import check_words
from experiments.laws.top_p import check_top_p, said
from experiments.setup.common_options import ANNEAL_OR_SAMPLE, ENCODER, SCORER, TOP_P, WHITEN
from experiments.setup.job import Job
from experiments.setup.kernels import edit_kernel
from experiments.setup.languages import languages_of, remark_on_language
from experiments.setup.methods import sample_or_search
from experiments.setup.problem import Problem
from experiments.setup.scorers import (
    Given,
    check_rebuilder,
    check_scorer,
    load_rebuilder,
    load_scorer,
    rebuilding,
    spelling,
)
from experiments.setup.settings import Settings
from experiments.setup.similarity import check_whitening, similarity_to
from experiments.setup.sources import encode_source
from experiments.starts.extracts import extracts, shorter_starts, with_two_gaps
from experiments.starts.inside import starts_inside

if TYPE_CHECKING:
    from experiments.results.protocol import Run
    from lm_adapters import CausalLM, MaskedLM, Seq2SeqLM

__all__ = ["summarize"]

REBUILT = "paraphrase"  # the task by which a source is rebuilt from its summary
NEAR = 100.0  # weight of the similarity where nothing is rebuilt
KEEP = 0.6  # words kept of a summary that is written anew: with fewer it says something else


def check(
    settings: Settings,
    *,
    text: str,
    max_words: int,
    top_p: float,
    whiten: str | None,
    scorer: object,
    rebuilder: object,
    reconstruction: float,
    **_: object,
) -> None:
    """Raise ``InvalidInput`` for a text that is no longer than its summary may be, or not in the user's words.

    For a nucleus that cannot be, and for models that cannot score or rebuild, too.
    """
    from lm_adapters import word_spans
    from samplers import InvalidInput

    check_top_p(top_p)
    if (count := len(word_spans(text))) <= max_words:
        raise InvalidInput(
            f"{argument('text')} has {count} words and {argument('max_words')} is {max_words}; give a smaller number"
        )
    check_words(settings.word_list, "text", [text])
    check_whitening(whiten)
    check_scorer(scorer, None, settings)
    check_rebuilder(rebuilder, settings, REBUILT, reconstruction)


@experiment(check=check, search_steps=100)
def summarize(
    job: Job,
    text: Annotated[str, Option("What to summarize.")],
    *,
    max_words: Annotated[int, Option("Words that the summary may have.", minimum=1, energies=["WordLimit"])],
    sampler: Annotated[Literal["anneal", "mh"], ANNEAL_OR_SAMPLE] = "anneal",
    scorer: Annotated[str | CausalLM | MaskedLM, SCORER] = "causal-en",
    rebuilder: Annotated[
        str | Seq2SeqLM, Option(f"Seq2seq model with the task {REBUILT}, from which -log p of TEXT is.", task=REBUILT)
    ] = "seq2seq-en",
    reconstruction: Annotated[
        float,
        Option("Weight of -log p of TEXT given the summary: what it leaves out costs.", energies=["Reconstruction"]),
    ] = 1.0,
    likeness: Annotated[float, Option("Weight of -log p of the summary given TEXT, by the rebuilder too.")] = 0.5,
    encoder: Annotated[str | None, ENCODER] = None,
    similarity: Annotated[
        float | None, Option("Weight of -log cos, nats a sentence.  [default: 0; 100 where --reconstruction is 0]")
    ] = None,
    whiten: Annotated[str | None, WHITEN] = None,
    top_p: Annotated[float, TOP_P] = 1.0,
) -> Run:
    """TEXT in at most so many words: likely under a language model, and telling what TEXT says.

    Texts of at most ``max_words`` words, likely by ``exp(-(fluency + reconstruction * R + likeness * P))``. ``R = -log
    p`` of ``text`` given the summary, by the ``rebuilder``: a summary is good if the whole can be rebuilt from it.
    ``P = -log p`` of the summary given ``text``, by the same model's paraphrases: it says nothing else. All are nats of
    a sentence. With ``likeness=0`` their sum is Bayes' rule: what a text is likely to be, of which ``text`` is the long
    form. More weight on ``reconstruction`` leaves less out and reads worse. In
    English a summary ends with the last mark of ``text`` and not with a word such as "the" or "and". With
    ``reconstruction=0`` no seq2seq model is needed, and ``similarity * S`` takes the place of ``R``, ``S = -log cos``
    of the sentence embeddings of the summary and ``text``.

    Chains start from parts of ``text``, and from sentences that the ``rebuilder`` writes of some of its words, as far
    as it has a task for that; a search starts from the best of many.

    Raises ``InvalidInput`` for a text that is no longer than the summary may be, or that the models cannot take, and
    for a ``rebuilder`` without the task.
    """
    import torch

    from lm_adapters import WordLimit, same_tokens, word_spans

    lm = job.masked_lm()
    source, longest = encode_source(lm, text, 1, longer=0, name="text")
    whole = load_rebuilder(rebuilder, job.settings, REBUILT) if reconstruction else None
    scored = load_scorer(scorer, lm, job.settings, top_p=top_p)
    remark_on_language("text", [text], scored.lm, lm)
    terms = WordLimit(lm.space, max_words) + scored.terms
    models: dict[str, Any] = {"model": lm, "scorer": scored.lm}
    scored_by = {"fluency": said(job.named("scorer", scored.model), top_p, given=False)}
    if whole:
        rebuilt = rebuilding(whole, lm, text.strip(), REBUILT)
        for each in [] if scored.constraints else spelling(rebuilt, lm.space):
            terms = terms + each
        terms = terms + reconstruction * rebuilt
        if likeness:
            like = load_scorer(whole, lm, job.settings, Given(REBUILT, text.strip(), REBUILT, "-log p(text | source)"))
            terms = terms + likeness * like.energy
            scored_by[like.energy.name] = job.named("rebuilder", whole.model)
        models["rebuilder"] = whole
        scored_by["reconstruction"] = job.named("rebuilder", whole.model)
    near = (0.0 if whole else NEAR) if similarity is None else similarity
    if meant := similarity_to(job, lm, text, near, encoder, whiten):
        terms = terms + near * meant
        models["encoder"] = meant.encoder
        scored_by["similarity"] = job.named("encoder", lm.model)
    if "en" in languages_of(lm):
        terms = terms + ends_as_sentence(lm.space, text)
    constraints = job.constraints(lm, [text, *lm.space.decode(source)])
    energy = job.with_custom(terms, lm.space, constraints)
    parts = lm.space.encode([*extracts(text.strip(), max_words), *with_two_gaps(text.strip(), max_words)]).to(lm.device)
    parts = parts[lm.space.lengths(parts) <= longest, :longest]
    x0 = torch.nn.functional.pad(parts, (0, longest - parts.shape[1]), value=lm.space.pad_id)
    moves: dict[str, Any] = {
        "max_length": longest,
        "temperature": job.settings.law_temperature,
        "scorer": scored.energy,
    }
    writer = whole if whole and same_tokens(whole, lm.space) else None
    if writer:
        moves |= {"writer": writer, "keep": KEEP}
    share = max_words / len(word_spans(text))
    wide = sampler == "anneal"
    x0 = shorter_starts(x0, source, writer, list(models.values()), energy, job, share=share, wide=wide)
    x0 = starts_inside(scored, top_p, energy, x0, job, models)
    problem = Problem(lm.space, energy, x0, models, lengths=(1, longest), scored_by=scored_by)
    return sample_or_search(problem, edit_kernel(lm, swap=True, **moves), sampler, job)
