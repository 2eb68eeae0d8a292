"""Which phrase of a list fits a text: every one scored, or drawn along the trie of the list, whatever its size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from experiments.choosing.best import rank_best
from experiments.choosing.ranking import rank_all
from experiments.declaration.arguments import Option
from experiments.declaration.wording import argument
from experiments.entry.experiment import experiment
from experiments.laws.top_p import check_top_p, said
from experiments.setup.job import Job
from experiments.setup.languages import remark_on_language
from experiments.setup.methods import draw_by_importance, sample_or_search
from experiments.setup.models import named_model
from experiments.setup.problem import Problem
from experiments.setup.scorers import load_seq2seq, load_with_task
from experiments.setup.settings import Settings
from experiments.starts.fill import drawn_starts

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from experiments.results.protocol import Run
    from lm_adapters import LookAhead, Phrases, Seq2SeqLM

__all__ = ["choose"]


PARAPHRASE, INFILL = "paraphrase", "infill"


def check(
    settings: Settings, *, text: str, sampler: str, task: str | None, look_ahead: bool, top_p: float, **_: object
) -> None:
    """Raise ``InvalidInput`` for an empty text, a slot or nucleus that cannot be, and what does not go with others."""
    from lm_adapters import around_slot
    from samplers import InvalidInput

    if not text.strip():
        raise InvalidInput(f"{argument('text')} is empty; give a text that a phrase is to fit")
    try:
        slot = around_slot(text)
    except InvalidInput as error:
        raise InvalidInput(f"{argument('text')}: {error}") from error
    if slot is not None and task not in (None, INFILL):
        raise InvalidInput(f"{argument('task')} is {task!r} and {argument('text')} has a slot; leave one of them out")
    if slot is not None and look_ahead:
        raise InvalidInput(f"{argument('look_ahead')} is for phrases with words of {argument('text')}; leave it out")
    check_top_p(top_p)
    if top_p < 1 and sampler == "best":
        raise InvalidInput(
            f"{argument('sampler')} best proves what is likeliest by the whole law of the scorer; leave "
            f"{argument('top_p')} out, or take exact"
        )


@experiment(check=check)
def choose(
    job: Job,
    text: Annotated[str, Option("What a phrase is to fit. With [MASK] in it: where the phrase is to stand.")],
    *,
    phrases: Annotated[
        str, Option("The phrases: a UTF-8 file of any size, one a line.", names=["--from"], metavar="FILE")
    ],
    sampler: Annotated[
        Literal["exact", "best", "mh", "importance", "anneal"],
        Option(
            "exact: score every phrase. best: the likeliest, proved to be, of at most CHAINS * STEPS beginnings that "
            "are read. With the others the model reads no more for a longer list either: mh, "
            "chains along the trie of the list; importance, weighted draws, which also tell the law's mass; anneal, "
            "search for the best."
        ),
    ] = "exact",
    scorer: Annotated[str | Seq2SeqLM, Option("Seq2seq model whose -log p of a phrase given TEXT is the energy.")] = (
        "seq2seq-en"
    ),
    task: Annotated[
        str | None,
        Option(
            "What the scorer is asked to write of TEXT, of the tasks that its configuration lists.  [default: "
            f"{PARAPHRASE}; {INFILL} where TEXT has a slot]"
        ),
    ] = None,
    look_ahead: Annotated[
        bool, Option("Propose more often what leads to phrases with words of TEXT; the law stays as it is.")
    ] = False,
    top_p: Annotated[
        float,
        Option(
            "The scorer's -log p is that of sampling with this nucleus: renormalised inside; phrases that leave it are "
            "forbidden.",
            energies=["NucleusEnergy"],
        ),
    ] = 1.0,
) -> Run:
    """Which of the phrases of a file fits TEXT: what a seq2seq model would write of it, if it had to be one of these.

    With a slot, "The [MASK] barked all night.", it is what the model would write there; it sees both sides. Energies of
    your own read the phrase alone.

    Phrases are likely by ``exp(-E / temperature)``, ``E = -log p(phrase | text)`` in nats, among those of the list;
    lines that the tokenizer spells alike are one phrase. With ``sampler="exact"`` every one is scored and the law is
    printed as it is, the likeliest first. The other samplers never look at the whole list, which is kept as a trie of
    tokens; ``best`` finds the likeliest by the scorer alone. The masked ``model`` of other experiments is not needed.

    Raises ``InvalidInput`` for a file without phrases or that cannot be read, and for a phrase that cannot be spelled,
    before the model is loaded; for a task that it does not have.
    """
    from lm_adapters import (
        NucleusEnergy,
        PhraseDistribution,
        PhraseProposal,
        SequenceEnergy,
        around_slot,
        slot_reader,
    )
    from samplers import MetropolisHastings
    from samplers.randomness import scoped_global_seed

    slot = around_slot(text)
    listed = _spelt(phrases, scorer, job.settings, spaced=slot is not None and bool(slot[0].strip()))
    if slot is None:
        seq2seq = load_seq2seq(scorer, job.settings)
        reader = seq2seq.condition_on(text.strip(), prefix=_prefix(seq2seq, task or PARAPHRASE))
        remark_on_language("text", [text], seq2seq)
    else:
        seq2seq = load_with_task("scorer", scorer, job.settings, INFILL, f"{argument('text')} without [MASK]")
        reader = slot_reader(seq2seq, text.strip())
    energy = NucleusEnergy(reader, top_p, name="fit") if top_p < 1 else SequenceEnergy(reader, name="fit")
    energy.formula = "-log p(phrase | text)" + (f" as {task or PARAPHRASE}" if slot is None and seq2seq.tasks else "")
    whole = job.with_custom(listed + energy, seq2seq.space)
    aims: dict[str, Any] = {"temperature": job.settings.law_temperature}
    if look_ahead:
        aims["look_ahead"] = _ahead(listed, seq2seq, text)
    drawn = PhraseDistribution(reader, listed, **aims)

    def draw(rng: torch.Generator) -> Tensor:
        with scoped_global_seed(rng):
            return drawn.sample((job.settings.chains,))

    started = sampler in ("mh", "anneal")
    some = next(listed.states(1)).to(seq2seq.device).expand(job.settings.chains, -1)
    problem = Problem(
        seq2seq.space,
        whole,
        drawn_starts(job, [seq2seq], draw) if started else some,
        {"scorer": seq2seq},
        scored_by={energy.name: said(job.named("scorer", seq2seq.model), top_p, given=False)},
    )
    if sampler == "exact":
        return rank_all(problem, listed, job)
    if sampler == "best":
        return rank_best(problem, reader, listed, job)
    if sampler == "importance":
        return draw_by_importance(problem, drawn, job)
    return sample_or_search(problem, MetropolisHastings(PhraseProposal(reader, listed, **aims)), sampler, job)


def _spelt(path: str, scorer: str | Seq2SeqLM, settings: Settings, *, spaced: bool) -> Phrases:
    """The phrases in the tokens of the scorer, of which nothing but the tokenizer is loaded."""
    from lm_adapters import Phrases, Seq2SeqLM
    from lm_adapters.loading import target_space
    from samplers import InvalidInput

    found = named_model(scorer, settings.device, settings.dtype) if isinstance(scorer, str) else scorer
    if not isinstance(found, str):
        if not isinstance(found, Seq2SeqLM):
            raise InvalidInput(f"{argument('scorer')} is a {type(found).__name__}; give a seq2seq model")
        space = found.space
    else:
        space = target_space(found, trust_remote_code=settings.trust_remote_code)
    try:
        return Phrases.read(space, path, spaced=spaced)
    except InvalidInput as error:
        raise InvalidInput(f"{argument('phrases')}: {error}") from error


def _prefix(seq2seq: Seq2SeqLM, task: str) -> str:
    from samplers import InvalidInput

    try:
        return seq2seq.task_prefix(task)
    except InvalidInput as error:
        raise InvalidInput(f"{argument('task')}: {error}") from error


def _ahead(phrases: Phrases, seq2seq: Seq2SeqLM, text: str) -> LookAhead:
    from lm_adapters import LookAhead

    tokens = seq2seq.space.encode([text.strip()])[0].to(seq2seq.device)
    return LookAhead(phrases.trie_on(seq2seq.device), tokens)
