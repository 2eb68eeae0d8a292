"""Translations that must contain given words: a seq2seq model scores, a masked model proposes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import click

from experiments.results.protocol import Run
from experiments.results.terminal import show
from experiments.setup.kernels import edit_kernel
from experiments.setup.options import run_options
from experiments.setup.settings import Settings
from experiments.setup.solve import Problem, begun, in_words, run_steps

if TYPE_CHECKING:
    from torch import Tensor

    from lm_adapters import Seq2SeqLM, TextSpace
    from samplers import EnergyTerm

__all__ = ["SAMPLERS", "command", "translate"]

SAMPLERS = ("anneal", "mh")
TASK = "translation_fr_to_en"  # in the table of tasks that a model's configuration may have
LONGER = 6  # tokens that a state may have more than the model's own translation


def translate(
    text: str,
    *,
    must_contain: Sequence[str] = (),
    any_order: bool = True,
    sampler: Literal["anneal", "mh"] = "anneal",
    scorer: str | Seq2SeqLM = "seq2seq-en",
    prefix: str | None = None,
    **shared: Any,
) -> Run:
    """Translations likely by ``exp(-E)``, ``E = -log p(translation | text)``, that contain ``must_contain``.

    Main arguments
        ``must_contain``: words or phrases of the target language, in any order unless ``any_order=False``. Chains
        start from the model's own translation (beam search), with each missing word put where it costs least.
    Other arguments
        ``scorer``: a seq2seq model whose target side has the tokenizer of ``model``. ``prefix``: what stands before
        the source; by default the model's own for translation. ``shared``: see ``Settings``.
    Raises
        ``InvalidInput`` for an empty text, words that cannot be spelled, or models that do not fit each other.
    """
    own = {name: value for name, value in locals().items() if name != "shared"}
    from lm_adapters import Keywords, Seq2SeqLM, ThroughText, check_compatible
    from samplers import InvalidInput

    settings = Settings(**shared)
    settings.check_for(sampler)
    config = settings.config("translate", **{**own, "must_contain": list(must_contain)})
    with begun(settings, config) as job:
        lm = settings.masked_lm()
        lock = Keywords(lm.space, must_contain, any_order=any_order) if must_contain else None
        check_compatible(must_contain, lock.min_length if lock else 0, forbidden=settings.forbid)
        seq2seq = (
            scorer
            if isinstance(scorer, Seq2SeqLM)
            else Seq2SeqLM.from_pretrained(
                scorer, settings.device, settings.dtype, trust_remote_code=settings.trust_remote_code
            )
        )
        prefix = seq2seq.task_prefix(TASK) if prefix is None else prefix
        forward = ThroughText.of(seq2seq.energy(text, prefix=prefix), lm.space, seq2seq.space, name="translation")
        energy = settings.with_custom(forward if lock is None else lock + forward, lm.space)
        own_translation = lm.space.encode([seq2seq.translate(text, prefix=prefix)])[0].to(lm.device)
        start = put_in(must_contain, any_order, own_translation, forward, lm.space)
        if len(start) > lm.max_length:
            raise InvalidInput(f"the translation has {len(start)} tokens, --model takes {lm.max_length}; shorten TEXT")
        longest = min(len(start) + LONGER, lm.max_length)
        x0 = start.new_full((settings.chains, longest), lm.space.pad_id)
        x0[:, : len(start)] = start
        problem = Problem(lm.space, energy, x0, in_words(energy), {"model": lm, "scorer": seq2seq})
        kernel = edit_kernel(lm, lock=lock, max_length=longest, swap=any_order, scorer=forward)
        run = run_steps(problem, kernel, sampler, job)
        job.finish(run)
    return run


def put_in(words: Sequence[str], any_order: bool, x: Tensor, energy: EnergyTerm, space: TextSpace) -> Tensor:
    """``int64 [tokens]``: ``x`` with every word that it lacks put in, each at the slot where the energy is lowest.

    Of all slots only those count after which the most of the words, from the first on, are found.
    """
    import torch

    from lm_adapters import Keywords

    locks = [Keywords(space, words[:count], any_order=any_order) for count in range(1, len(words) + 1)]
    for word, lock in zip(words, locks, strict=True):
        if bool(lock.found(x.unsqueeze(0))):
            continue
        spelled = space.encode([word])[0].to(x.device)
        rows = torch.stack([torch.cat([x[:slot], spelled, x[slot:]]) for slot in range(len(x) + 1)])
        found = torch.stack([lock.found(rows) for lock in locks]).sum(dim=0)
        rows = rows[found == found.max()]
        x = rows[int(energy(rows).argmin())]
    return x


@click.command("translate")
@click.argument("text")
@click.option("--must-contain", multiple=True, metavar="WORD", help="A word or phrase of the translation. Repeatable.")
@click.option("--any-order/--in-order", default=True, show_default=True, help="Of several words.")
@click.option("--sampler", type=click.Choice(SAMPLERS), default="anneal", show_default=True,
              help="anneal: search for the best. mh: draw from the law.")  # fmt: skip
@click.option("--scorer", default="seq2seq-en", show_default=True, help="Seq2seq model.")
@click.option("--prefix", help="Stands before TEXT in the model's input.  [default: the model's own]")
@run_options()
def command(as_json: bool, quiet: bool, **options: Any) -> None:
    """Translate TEXT with words that must come."""
    run = translate(**options, progress=not quiet)
    show(run, as_json=as_json, quiet=quiet)


if __name__ == "__main__":
    from experiments.cli import run_command

    run_command(command.main)
