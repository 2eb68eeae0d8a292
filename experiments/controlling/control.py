"""A text rewritten so that a classifier gives it another label, and no more than that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from experiments.controlling.classifiers import check_label, load_classifier, load_follower
from experiments.controlling.starts import rewritten_starts
from experiments.declaration.arguments import Option
from experiments.declaration.wording import argument
from experiments.entry.experiment import experiment
from experiments.laws.real_words import check_words
from experiments.laws.top_p import check_top_p, said
from experiments.setup.common_options import ANNEAL_OR_SAMPLE, ENCODER, SCORER, TOP_P, WHITEN
from experiments.setup.job import Job
from experiments.setup.kernels import edit_kernel
from experiments.setup.languages import remark_on_language
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
from experiments.starts.inside import starts_inside

if TYPE_CHECKING:
    from experiments.results.protocol import Run
    from lm_adapters import CausalLM, MaskedLM, NextSentenceModel, Seq2SeqLM, TextClassifier

__all__ = ["control"]

LONGER = 4  # tokens that a text may have more than its source
SHORTEST = 2  # tokens that it must have: a classifier that reads no marks has a label for a full stop too
KEEP = 0.5  # words kept of a text that is written anew: with fewer it says something else
REBUILT = "paraphrase"  # the task by which the source is rebuilt from a text
NEAR = 100.0  # weight of the similarity where nothing is rebuilt


def check(
    settings: Settings,
    *,
    text: str,
    classifier: Any,
    label: str | int,
    template: str | None,
    against: Sequence[str],
    after: str | None,
    follower: Any,
    whiten: str | None,
    top_p: float,
    scorer: object,
    rebuilder: object,
    reconstruction: float,
    **_: object,
) -> None:
    """Raise ``InvalidInput`` for a label that there is not, for half of a pair of options, and for unknown words.

    For a nucleus that cannot be, and for models that cannot score or rebuild, too.
    """
    from samplers import InvalidInput

    check_top_p(top_p)
    check_label(settings, classifier, label, template, against)
    if (after is None) != (follower is None):
        given, other = ("after", "follower") if follower is None else ("follower", "after")
        raise InvalidInput(f"{argument(given)} needs {argument(other)}; give both, or leave both out")
    check_words(settings.word_list, "text", [text])
    check_whitening(whiten)
    check_scorer(scorer, None, settings)
    check_rebuilder(rebuilder, settings, REBUILT, reconstruction)


@experiment(check=check)
def control(
    job: Job,
    text: Annotated[str, Option("What to rewrite.")],
    *,
    label: Annotated[str, Option("The label that the text is to have, by name or number.")],
    classifier: Annotated[
        str | TextClassifier | MaskedLM,
        Option("Sequence-classification model, or with --template a masked language model."),
    ] = "kinds-en",
    strength: Annotated[float, Option("Weight of -log p(label | text).", minimum=0, energies=["LabelEnergy"])] = 20.0,
    template: Annotated[
        str | None,
        Option("Without training: what a masked model reads, with {text} and {label}, as in '{text} It was {label}.'"),
    ] = None,
    against: Annotated[
        Sequence[str],
        Option("Word that --label, a word too, is compared with in the template. Repeatable.", metavar="WORD"),
    ] = (),
    sampler: Annotated[Literal["anneal", "mh"], ANNEAL_OR_SAMPLE] = "anneal",
    scorer: Annotated[str | CausalLM | MaskedLM, SCORER] = "causal-en",
    rebuilder: Annotated[
        str | Seq2SeqLM, Option(f"Seq2seq model with the task {REBUILT}, from which -log p of TEXT is.", task=REBUILT)
    ] = "seq2seq-en",
    reconstruction: Annotated[
        float, Option("Weight of -log p of TEXT given the text: what it loses costs.", energies=["Reconstruction"])
    ] = 0.7,
    likeness: Annotated[float, Option("Weight of -log p of the text given TEXT, by the rebuilder too.")] = 1.0,
    encoder: Annotated[str | None, ENCODER] = None,
    similarity: Annotated[
        float | None, Option("Weight of -log cos, nats a sentence.  [default: 0; 100 where --reconstruction is 0]")
    ] = None,
    whiten: Annotated[str | None, WHITEN] = None,
    after: Annotated[str | None, Option("What stands before the text, which is to follow from it.")] = None,
    follower: Annotated[
        str | NextSentenceModel | None, Option("BERT with a next-sentence head, which tells whether it does.")
    ] = None,
    coherence: Annotated[
        float, Option("Weight of the log odds that the text does not follow.", minimum=0, energies=["Coherence"])
    ] = 1.0,
    top_p: Annotated[float, TOP_P] = 1.0,
) -> Run:
    """TEXT as a classifier's LABEL has it: likely texts with that label, from which TEXT can be rebuilt.

    Texts are made likely by ``exp(-(fluency + likeness * P + reconstruction * R + strength * A))``.
    ``A = -log p(label | text)`` is near 0 for every text of which the ``classifier`` is sure, so that beyond that only
    the others count. The ``rebuilder``, trained on paraphrases, keeps the text close: ``P = -log p`` of it given
    ``text``, ``R = -log p`` of ``text`` given it, so that what is added costs and what is left out. The fluency speaks
    against what such a model copies without grammar. With ``reconstruction=0`` no seq2seq model is needed, and
    ``similarity * S`` takes the place of ``P`` and ``R``, ``S = -log cos`` of the sentence embeddings.

    A ``classifier`` is any sequence-classification model; ``kinds-en`` tells a statement, a question and a command
    apart. With a ``template`` it is a masked language model: ``p`` of the word ``label`` where the template has it,
    among that and the words ``against``. With ``after`` and a ``follower`` the text is also to follow what stands
    before it.

    Chains start from what the ``rebuilder`` writes as paraphrases and around some words of ``text``; a search starts
    from the best of many.

    Raises ``InvalidInput`` for a label that the classifier does not have, for a regression model, for label words that
    are not one token each, for a follower without a next-sentence head, for a ``rebuilder`` without the task, and for a
    text that the models cannot take.
    """
    from lm_adapters import Coherence, LabelEnergy, same_tokens

    lm = job.masked_lm()
    judge = load_classifier(classifier, lm, label, template, against, job.settings)
    x0, longest = encode_source(lm, text, job.settings.chains, longer=LONGER, name="text")
    whole = load_rebuilder(rebuilder, job.settings, REBUILT) if reconstruction else None
    scored = load_scorer(scorer, lm, job.settings, top_p=top_p)
    remark_on_language("text", [text], scored.lm, lm)
    attribute = LabelEnergy(lm.space, judge, label)
    terms = scored.terms + strength * attribute
    models: dict[str, Any] = {"model": lm, "scorer": scored.lm, "classifier": judge}
    scored_by = {
        "fluency": said(job.named("scorer", scored.model), top_p, given=False),
        attribute.name: job.named("classifier", judge.model),
    }
    like = None
    if whole and likeness:
        source = Given(REBUILT, text.strip(), REBUILT, "-log p(text | source)")
        like = load_scorer(whole, lm, job.settings, source)
        terms = terms + likeness * like.energy
        scored_by[like.energy.name] = job.named("rebuilder", whole.model)
    if whole:
        rebuilt = rebuilding(whole, lm, text.strip(), REBUILT)
        for each in [] if scored.constraints else spelling(rebuilt, lm.space):
            terms = terms + each
        terms = terms + reconstruction * rebuilt
        models["rebuilder"] = whole
        scored_by["reconstruction"] = job.named("rebuilder", whole.model)
    near = (0.0 if whole else NEAR) if similarity is None else similarity
    if meant := similarity_to(job, lm, text, near, encoder, whiten):
        terms = terms + near * meant
        models["encoder"] = meant.encoder
        scored_by["similarity"] = job.named("encoder", lm.model)
    if after is not None and follower is not None:
        follows = Coherence(lm.space, load_follower(follower, job.settings), after)
        terms = terms + coherence * follows
        models["follower"] = follows.follower
        scored_by[follows.name] = job.named("follower", follows.follower.model)
    constraints = job.constraints(lm, [text, *lm.space.decode(x0[:1])])
    energy = job.with_custom(terms, lm.space, constraints)
    shortest = min(SHORTEST, int(lm.space.lengths(x0[:1])))
    moves: dict[str, Any] = {
        "min_length": shortest,
        "max_length": longest,
        "temperature": job.settings.law_temperature,
        "scorer": scored.energy,
    }
    if whole and same_tokens(whole, lm.space):
        x0 = rewritten_starts(
            whole, REBUILT, text.strip(), energy, x0, job, lengths=(shortest, longest), wide=sampler == "anneal"
        )
        moves |= {"writer": whole, "keep": KEEP, "informed": [like.writer] if like and like.writer else []}
    x0 = starts_inside(scored, top_p, energy, x0, job, models)
    problem = Problem(lm.space, energy, x0, models, lengths=(shortest, longest), scored_by=scored_by)
    return sample_or_search(problem, edit_kernel(lm, swap=True, **moves), sampler, job)
