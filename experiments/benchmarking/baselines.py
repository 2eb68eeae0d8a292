"""The loops that people write by hand: one chain, and a forward pass for all that is asked.

Each is a generator of ``(text, energy)`` after every step, ``text`` a list of token ids. The energies are those of the
batched kernels, and so are the laws of all loops but ``published_keywords``, whose scheme is not quite reversible.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from lm_adapters import CausalLM, MaskedLM, Seq2SeqLM

__all__ = [
    "gibbs",
    "masked_law",
    "nll",
    "pll_chain",
    "pseudo_nll",
    "published_keywords",
    "rescored",
    "suffixes",
    "translation_nll",
    "translations",
]

Text = list[int]
Chain = Iterator[tuple[Text, float]]


def gibbs(lm: MaskedLM, text: Text, seed: int = 0) -> Chain:
    """Mask a token, draw it anew, take it."""
    rolls, rng = random.Random(seed), _generator(lm, seed)
    while True:
        site = rolls.randrange(len(text))
        text = _put(text, site, _draw(masked_law(lm, text, site), rng))
        yield text, 0.0


def pll_chain(lm: MaskedLM, text: Text, seed: int = 0) -> Chain:
    """Metropolis-Hastings on the pseudo-log-likelihood, one pass a masked token."""
    rolls, rng, energy = random.Random(seed), _generator(lm, seed), pseudo_nll(lm, text)
    while True:
        site = rolls.randrange(len(text))
        law = masked_law(lm, text, site)
        new = _put(text, site, _draw(law, rng))
        new_energy = pseudo_nll(lm, new)
        log_ratio = energy - new_energy + float(law[text[site]].log() - law[new[site]].log())
        if _accept(log_ratio, rolls):
            text, energy = new, new_energy
        yield text, energy


def rescored(lm: MaskedLM, scorer: CausalLM, text: Text, k: int, seed: int = 0) -> Chain:
    """The ``k`` likeliest tokens of a site, each text scored by itself, and one of them drawn."""
    rolls, energy = random.Random(seed), nll(scorer, text)
    while True:
        site = rolls.randrange(len(text))
        listed = masked_law(lm, text, site).topk(k).indices.tolist()
        if text[site] in listed:
            energies = torch.tensor([nll(scorer, _put(text, site, token)) for token in listed], dtype=torch.float64)
            chosen = rolls.choices(range(k), weights=energies.neg().softmax(dim=0).tolist())[0]
            text, energy = _put(text, site, listed[chosen]), float(energies[chosen])
        yield text, energy


def published_keywords(
    scorer: CausalLM, text: Text, pieces: Sequence[int], lengths: tuple[int, int], k: int = 64, seed: int = 0
) -> Chain:
    """The published scheme (Miao et al. 2019, arXiv:1811.10996, as GPT-2 users run it), from its description.

    A kind of move and a free place (``pieces`` is 0 there, else the number of a keyword) are drawn. The ``k`` tokens
    that the scorer finds likeliest after what stands before are candidates, the current one forced among them; the
    whole text is scored with each, one by one. A replaced or inserted token is drawn from these scores, and accepted by
    the ratio of the two texts and of the token's share; a deletion is accepted by the share that its token would have.
    """
    pieces = list(pieces)
    rolls, energy = random.Random(seed), nll(scorer, text)
    while True:
        kind = rolls.choice(("replace", "insert", "delete"))
        places = [i for i, piece in enumerate(pieces) if not piece]
        if kind == "insert":
            places = [i for i in range(len(text) + 1) if not (0 < i < len(text) and 0 < pieces[i - 1] == pieces[i])]
        length = len(text) + {"replace": 0, "insert": 1, "delete": -1}[kind]
        if not places or not lengths[0] <= length <= lengths[1]:
            yield text, energy
            continue
        at = rolls.choice(places)
        before, after = text[:at], text[at if kind == "insert" else at + 1 :]
        listed = _likeliest(scorer, before, k, None if kind == "insert" else text[at])
        energies = torch.tensor([nll(scorer, [*before, token, *after]) for token in listed], dtype=torch.float64)
        share = energies.neg().log_softmax(dim=0)
        if kind == "delete":
            new, new_energy, log_ratio = [*before, *after], nll(scorer, [*before, *after]), float(share[0])
        else:
            chosen = rolls.choices(range(len(listed)), weights=share.exp().tolist())[0]
            new, new_energy = [*before, listed[chosen], *after], float(energies[chosen])
            log_ratio = (float(share[0]) if kind == "replace" else 0.0) - float(share[chosen])
        if _accept(energy - new_energy + log_ratio, rolls):
            rest = pieces[at if kind == "insert" else at + 1 :]
            pieces = [*pieces[:at], *([] if kind == "delete" else [0]), *rest]
            text, energy = new, new_energy
        yield text, energy


def suffixes(scorer: CausalLM, text: Text, lengths: tuple[int, int], seed: int = 0) -> Chain:
    """Cut the text somewhere and write it on with the model's own cache, as ``generate`` does.

    ``-log p`` of each token, and what it was drawn with, are kept with the text: nothing is read twice.
    """
    rolls, rng, known = random.Random(seed), _generator(scorer, seed), _told(scorer, text, lengths)
    while True:
        cut = rolls.randrange(len(text) + 1)
        new, found, past = text[:cut], known[:cut], None
        read = _row(scorer, [scorer.start_id, *new])
        while len(new) <= lengths[1]:
            output = scorer.model(input_ids=read, past_key_values=past, use_cache=True)
            own, law = _next_law(scorer, output.logits[0, -1], len(new), lengths)
            token = _draw(law, rng)
            found = [*found, _nats(own, law, token)]
            if token == scorer.eos_id:
                break
            new, read, past = [*new, token], _row(scorer, [token]), output.past_key_values
        log_ratio = math.log((len(text) + 1) / (len(new) + 1))
        for sign, terms in ((1.0, known), (-1.0, found)):
            log_ratio += sign * sum(nats + log_q for nats, log_q in terms)
        if _accept(log_ratio, rolls):
            text, known = new, found
        yield text, sum(nats for nats, _ in known)


def translations(
    lm: MaskedLM, scorer: Seq2SeqLM, source: Text, text: Text, lengths: tuple[int, int], seed: int = 0
) -> Chain:
    """Replace, insert or delete a token; the encoder reads the source again for every text that is scored.

    A move that the bounds on the length forbid is a step that stays, so the factors of kind and place cancel.
    """
    rolls, rng, energy = random.Random(seed), _generator(lm, seed), translation_nll(scorer, source, text)
    while True:
        kind = rolls.choice(("replace", "insert", "delete"))
        length = len(text) + {"replace": 0, "insert": 1, "delete": -1}[kind]
        if not lengths[0] <= length <= lengths[1]:
            yield text, energy
            continue
        at = rolls.randrange(max(len(text), length))
        opened = [*text[:at], _mask(lm), *text[at if kind == "insert" else at + 1 :]]
        law = masked_law(lm, opened, at)
        new, log_ratio = [*text[:at], *text[at + 1 :]], 0.0
        if kind != "delete":
            new = _put(opened, at, _draw(law, rng))
            log_ratio -= float(law[new[at]].log())
        if kind != "insert":
            log_ratio += float(law[text[at]].log())
        new_energy = translation_nll(scorer, source, new)
        if _accept(energy - new_energy + log_ratio, rolls):
            text, energy = new, new_energy
        yield text, energy


def masked_law(lm: MaskedLM, text: Text, site: int) -> Tensor:
    """``[vocabulary]``: the law of one token given the others, over tokens that may be proposed."""
    logits = _masked_logits(lm, text, site)[0, len(lm.space.prefix) + site]
    return logits.masked_fill(~lm.allowed, -math.inf).softmax(dim=0)


def pseudo_nll(lm: MaskedLM, text: Text) -> float:
    """Minus the pseudo-log-likelihood in nats."""
    total = 0.0
    for site, token in enumerate(text):
        law = _masked_logits(lm, text, site).log_softmax(dim=-1)
        total -= float(law[0, len(lm.space.prefix) + site, token])
    return total


def nll(lm: CausalLM, text: Text) -> float:
    """``-log p(text, end)`` in nats."""
    law = lm.model(input_ids=_row(lm, [lm.start_id, *text])).logits.log_softmax(dim=-1)[0]
    return _nll(law, [*text, lm.eos_id])


def translation_nll(lm: Seq2SeqLM, source: Text, text: Text) -> float:
    """``-log p(text, end | source)`` in nats; ``source`` as the encoder reads it."""
    decoder = _row(lm, [*lm.context, *text])
    law = lm.model(input_ids=_row(lm, source), decoder_input_ids=decoder).logits.log_softmax(dim=-1)[0]
    return _nll(law[len(lm.context) - 1 :], [*text, lm.eos_id])


def _masked_logits(lm: MaskedLM, text: Text, site: int) -> Tensor:
    ids = [*lm.space.prefix, *_put(text, site, _mask(lm)), *lm.space.suffix]
    return lm.model(input_ids=_row(lm, ids)).logits


def _told(lm: CausalLM, text: Text, lengths: tuple[int, int]) -> list[tuple[float, float]]:
    """``-log p`` and the log-probability of the draw, of each token of ``text`` and of its end."""
    logits = lm.model(input_ids=_row(lm, [lm.start_id, *text])).logits[0]
    found = []
    for place, token in enumerate([*text, lm.eos_id]):
        found.append(_nats(*_next_law(lm, logits[place], place, lengths), token))
    return found


def _next_law(lm: CausalLM, logits: Tensor, place: int, lengths: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The model's probabilities ``[vocabulary]``, and weights of what may stand at ``place``: at last the end alone."""
    own = logits.softmax(dim=0)
    if place == lengths[1]:
        law = torch.zeros_like(own)
        law[lm.eos_id] = 1.0
        return own, law
    law = own * lm.allowed
    if place >= lengths[0]:
        law[lm.eos_id] = own[lm.eos_id]
    return own, law


def _nats(own: Tensor, law: Tensor, token: int) -> tuple[float, float]:
    return -math.log(float(own[token])), math.log(float(law[token] / law.sum()))


def _likeliest(lm: CausalLM, before: Text, k: int, current: int | None) -> Text:
    """The ``k`` likeliest tokens after ``before``; ``current`` first among them where there is one."""
    law = lm.model(input_ids=_row(lm, [lm.start_id, *before])).logits.softmax(dim=-1)[0, -1]
    listed = law.masked_fill(~lm.allowed, 0.0).topk(k).indices.tolist()
    return listed if current is None else [current, *[token for token in listed if token != current][: k - 1]]


def _nll(law: Tensor, targets: Text) -> float:
    return -float(law[torch.arange(len(targets)), torch.tensor(targets)].double().sum())


def _row(lm: MaskedLM | CausalLM | Seq2SeqLM, ids: Text) -> Tensor:
    return torch.tensor([ids], device=lm.device)


def _mask(lm: MaskedLM) -> int:
    assert lm.space.mask_id is not None, "a masked language model has a mask token"
    return lm.space.mask_id


def _put(text: Text, site: int, token: int) -> Text:
    return [*text[:site], token, *text[site + 1 :]]


def _draw(law: Tensor, rng: torch.Generator) -> int:
    return int(torch.multinomial(law, 1, generator=rng))


def _accept(log_ratio: float, rolls: random.Random) -> bool:
    return rolls.random() < math.exp(min(0.0, log_ratio))


def _generator(lm: MaskedLM | CausalLM, seed: int) -> torch.Generator:
    return torch.Generator(lm.device).manual_seed(seed)
