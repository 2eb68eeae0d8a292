"""Which phrase of a list fits a text: every one scored, or drawn along the trie of the list, whatever its size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from experiments.choosing.ranking import rank_all
from experiments.declaration.arguments import Option
from experiments.declaration.wording import argument
from experiments.entry.experiment import experiment
from experiments.setup.job import Job
from experiments.setup.languages import remark_on_language
from experiments.setup.methods import draw_by_importance, sample_or_search
from experiments.setup.models import named_model
from experiments.setup.problem import Problem
from experiments.setup.scorers import load_seq2seq
from experiments.setup.settings import Settings
from experiments.starts.fill import drawn_starts

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from experiments.results.protocol import Run
    from lm_adapters import LookAhead, Phrases, Seq2SeqLM

__all__ = ["choose"]


def check(settings: Settings, *, text: str, **_: object) -> None:
    """Raise ``InvalidInput`` for an empty text."""
    from samplers import InvalidInput

    if not text.strip():
        raise InvalidInput(f"{argument('text')} is empty; give a text that a phrase is to fit")


@experiment(check=check)
def choose(
    job: Job,
    text: Annotated[str, Option("What a phrase is to fit.")],
    *,
    phrases: Annotated[
        str, Option("The phrases: a UTF-8 file of any size, one a line.", names=["--from"], metavar="FILE")
    ],
    sampler: Annotated[
        Literal["exact", "mh", "importance", "anneal"],
        Option(
            "exact: score every phrase. With the others the model reads no more for a longer list: mh, "
            "chains along the trie of the list; importance, weighted draws, which also tell the law's mass; anneal, "
            "search for the best."
        ),
    ] = "exact",
    scorer: Annotated[str | Seq2SeqLM, Option("Seq2seq model whose -log p of a phrase given TEXT is the energy.")] = (
        "seq2seq-en"
    ),
    task: Annotated[
        str, Option("What the scorer is asked to write of TEXT, of the tasks that its configuration lists.")
    ] = "paraphrase",
    look_ahead: Annotated[
        bool, Option("Propose more often what leads to phrases with words of TEXT; the law stays as it is.")
    ] = False,
) -> Run:
    """Which of the phrases of a file fits TEXT: what a seq2seq model would write of it, if it had to be one of these.

    Phrases are likely by ``exp(-E / temperature)``, ``E = -log p(phrase | text)`` in nats, among those of the list;
    lines that the tokenizer spells alike are one phrase. With ``sampler="exact"`` every one is scored and the law is
    printed as it is, the likeliest first. The other samplers never look at the whole list, which is kept as a trie of
    tokens. The masked ``model`` of other experiments is not needed.

    Raises ``InvalidInput`` for a file without phrases or that cannot be read, and for a phrase that cannot be spelled,
    before the model is loaded; for a task that it does not have.
    """
    from lm_adapters import PhraseDistribution, PhraseProposal, SequenceEnergy
    from samplers import MetropolisHastings
    from samplers.randomness import scoped_global_seed

    listed = _spelt(phrases, scorer, job.settings)
    seq2seq = load_seq2seq(scorer, job.settings)
    reader = seq2seq.condition_on(text.strip(), prefix=_prefix(seq2seq, task))
    remark_on_language("text", [text], seq2seq)
    energy = SequenceEnergy(reader, name="fit")
    energy.formula = f"-log p(phrase | text) as {task}" if task else "-log p(phrase | text)"
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
        scored_by={energy.name: job.named("scorer", seq2seq.model)},
    )
    if sampler == "exact":
        return rank_all(problem, listed, job)
    if sampler == "importance":
        return draw_by_importance(problem, drawn, job)
    return sample_or_search(problem, MetropolisHastings(PhraseProposal(reader, listed, **aims)), sampler, job)


def _spelt(path: str, scorer: str | Seq2SeqLM, settings: Settings) -> Phrases:
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
        return Phrases.read(space, path)
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
