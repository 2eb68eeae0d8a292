"""A probe of a model through its adapter: texts of unequal length, alone and together, beside the plain model.

What is compared are log-probabilities in nats, over the whole vocabulary, at every place of a text that is scored; the
plain model reads each text by itself, without padding, cache or hook. ``chosen_route`` finds the fastest way to run the
model that agrees, or says in one line why there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, get_args

import numpy as np
import torch
from torch import Tensor

from lm_adapters.forward.batching import Together
from lm_adapters.forward.kv_cache import Prefixes
from lm_adapters.forward.log_probs import at_least_float32
from lm_adapters.forward.oom import is_out_of_memory
from lm_adapters.forward.route import Cache, Route
from lm_adapters.models.autoregressive import Autoregressive
from lm_adapters.models.known_routes import known_route, remember_route, route_key
from samplers import InvalidInput

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Probed", "Reading", "chosen_route", "left_to_right", "padded", "probe_texts"]

LENGTHS = (3, 9, 9)  # tokens of the texts, fewer where the model takes fewer
HALF = (torch.float16, torch.bfloat16)
# The most by which log-probabilities may differ, as a sum over the places of two texts of the mean over the vocabulary:
# so many nats, or so much of that sum of the log-probabilities themselves. In half precision, and in float32.
TOLERANCE, RELATIVE = {True: 0.05, False: 1e-4}, {True: 0.01, False: 1e-6}
GOLDEN = 0.6180339887


@dataclass(frozen=True)
class Reading:
    """One way in which an adapter reads texts, and the plain model beside it. Texts are lists of token ids.

    plain
        Logits ``[places, vocabulary]`` of one text, from one call of the model without padding.
    adapted
        The same of several texts, row-major, as the adapter runs them on the present route.
    continued
        The same from the middle of each text on (place ``len(text) // 2``), by its cache; ``None`` where it has none.
    ragged
        Whether the adapter can continue prefixes of different lengths in one pass.
    """

    plain: Callable[[list[int]], Tensor]
    adapted: Callable[[list[list[int]]], Tensor]
    continued: Callable[[list[list[int]]], Tensor] | None = None
    ragged: bool = False


class Probed(Protocol):
    """What the probe needs of a ``LanguageModel``."""

    model: PreTrainedModel
    route: Route
    allowed: Tensor

    @property
    def max_length(self) -> int: ...

    def close(self) -> None: ...


def chosen_route(lm: Probed, readings: Sequence[Reading]) -> Route:
    """The fastest route on which all ``readings`` agree with the plain model. Leaves ``lm.route`` set to some route.

    Raises ``InvalidInput`` where there is none, in one line; the model is then as transformers loaded it.
    """
    texts = probe_texts(lm)
    key = route_key(lm.model, texts)
    if (known := known_route(key)) is not None:
        return known
    with torch.inference_mode(), _generators_kept(lm.model.device):
        try:
            route = _Probe(lm, readings, texts).route()
        except _Refused as refused:
            lm.close()
            raise InvalidInput(f"{_name(lm.model)} cannot be used: {refused}; choose another model") from refused
    remember_route(key, route)
    return route


def probe_texts(lm: Probed) -> list[list[int]]:
    """A short and two longer texts of the model's own pieces; all of one token where it takes no more."""
    pieces = lm.allowed.nonzero().squeeze(1).tolist()
    if lm.max_length < 1:
        raise InvalidInput(f"{_name(lm.model)} takes no text beside its special tokens; choose another model")
    lengths = [min(length, lm.max_length) for length in LENGTHS]
    lengths[0] = min(lengths[0], max(1, lengths[1] - 1))
    # Multiples of the golden ratio spread over the vocabulary and do not repeat.
    order = iter(int(len(pieces) * (GOLDEN * i % 1)) for i in range(1, sum(lengths) + 1))
    return [[pieces[next(order)] for _ in range(length)] for length in lengths]


def padded(texts: Sequence[list[int]], pad_id: int, device: torch.device) -> Tensor:
    """States ``int64 [texts, width]``."""
    width = max(map(len, texts))
    return torch.tensor([text + [pad_id] * (width - len(text)) for text in texts], device=device)


def left_to_right(make: Callable[[], Autoregressive], plain: Callable[[list[int]], Tensor], *, ragged: bool) -> Reading:
    """Whole texts, and texts continued from their middle, by the adapter that ``make`` returns for a route."""

    def adapted(texts: list[list[int]]) -> Tensor:
        model = make()
        device = model.allowed.device
        x = padded(texts, model.space.pad_id, device)
        wanted = torch.arange(x.shape[1] + 1, device=device) <= _lengths(texts, device)
        return torch.cat(list(model.logits(x, wanted)))

    def continued(texts: list[list[int]]) -> Tensor:
        model = make()
        pad_id, device = model.space.pad_id, model.allowed.device
        x, lengths = padded(texts, pad_id, device), _lengths(texts, device)
        cut = lengths // 2
        columns = torch.arange(x.shape[1] + 1, device=device)
        first, read = model.read(x, columns == cut)
        before = Prefixes.join([read.take(torch.arange(len(x), device=device), cut.squeeze(1))])
        found = [torch.cat(list(first)).unsqueeze(1)]
        rest = int((lengths - cut).max())
        tokens = torch.nn.functional.pad(x, (0, rest), value=pad_id).gather(1, cut + torch.arange(rest, device=device))
        tokens = tokens.where(model.space.is_token(tokens), model.eos_id)
        marked = torch.arange(rest, device=device) < lengths - cut
        # As a suffix is written, and as candidates are scored: one token, then all others together.
        for part in (slice(0, 1), slice(1, None)):
            if tokens[:, part].shape[1]:
                logits, before = model.extend(before, tokens[:, part], marked[:, part])
                here = torch.cat(list(logits))
                whole = here.new_zeros(*marked[:, part].shape, here.shape[1])
                whole[marked[:, part]] = here
                found.append(whole)
        kept = torch.arange(rest + 1, device=device) <= lengths - cut
        return torch.cat(found, dim=1)[kept]

    return Reading(plain, adapted, continued, ragged)


class _Refused(Exception):
    """Why a model cannot be used."""


class _Probe:
    def __init__(self, lm: Probed, readings: Sequence[Reading], texts: list[list[int]]) -> None:
        self.lm, self.readings, self.texts = lm, readings, texts
        self.half = lm.model.dtype in HALF
        self.plain = [[self._plain(reading, text) for text in texts] for reading in readings]
        self.seen = ""
        self._check_causal()

    def route(self) -> Route:
        # In half precision a cache rounds otherwise than a pass over the whole text: energies would depend on the move.
        caches: list[Cache] = ["none"] if self.half else ["any", "equal", "none"]
        if not all(reading.ragged for reading in self.readings if reading.continued) and "any" in caches:
            caches.remove("any")
        if not any(reading.continued for reading in self.readings):
            caches = ["any"]
        usual = Route(cache=caches[0])
        if self._agree(usual, "together", "continued"):
            return usual
        self._check_repeats()
        route = self._first([Route(cache="none", full_head=full) for full in (False, True)], "alone")
        route = self._first([replace(route, rows=rows) for rows in get_args(Together)], "together")
        if route.rows != "any" and len(caches) > 1:
            caches = ["none"]
        return self._first([replace(route, cache=cache) for cache in caches], "together", "continued")

    def _first(self, routes: list[Route], *hows: str) -> Route:
        for route in routes:
            if self._agree(route, *hows):
                return route
        raise _Refused(self.seen)

    def _agree(self, route: Route, *hows: str) -> bool:
        self.lm.route = route
        pairs = list(zip(self.readings, self.plain, strict=True))
        return all(self._agrees(reading, plain, how) for how in hows for reading, plain in pairs)

    def _agrees(self, reading: Reading, plain: list[Tensor], how: str) -> bool:
        texts, run = self.texts, reading.adapted
        if how == "continued":
            if reading.continued is None:
                return True
            run = reading.continued
            plain = [each[len(text) // 2 :] for each, text in zip(plain, texts, strict=True)]
        groups = [texts]
        if how == "alone":
            groups = [[text] for text in texts]
        elif how == "continued" and self.lm.route.cache == "equal":
            groups = [texts[:1], texts[1:]]
        try:
            found = [run(group) for group in groups]
        except Exception as error:
            self._note(error, how)
            return False
        if self._close(
            _log_probs(torch.cat(found)), torch.cat(plain), f"for texts {how} through head, padding and cache"
        ):
            return True
        self.seen = f"its numbers for a text depend on how it is read ({self.seen})"
        return False

    def _check_repeats(self) -> None:
        """Refuses a model that answers one text in several ways."""
        for reading, plain in zip(self.readings, self.plain, strict=True):
            again = [_log_probs(reading.plain(text)) for text in self.texts]
            if not self._close(torch.cat(again), torch.cat(plain), "again"):
                raise _Refused("it draws at random as it reads: a text gets other numbers each time")

    def _close(self, found: Tensor, expected: Tensor, how: str) -> bool:
        if found.shape != expected.shape:
            self.seen = f"its output for two texts {how} has the shape {list(found.shape)}, not {list(expected.shape)}"
            return False
        differences, shares = (found - expected).abs(), expected.isfinite()
        same = bool((found.isfinite() == shares).all())
        difference = float(differences.masked_fill(~shares, 0.0).mean(dim=1).sum())
        size = float(expected.masked_fill(~shares, 0.0).mean(dim=1).abs().sum())
        if same and difference <= max(TOLERANCE[self.half], RELATIVE[self.half] * size):
            return True
        likeliest = expected.argmax(dim=1, keepdim=True)
        first, second = (-float(each.gather(1, likeliest).sum()) for each in (found, expected))
        self.seen = f"{first:.5f} nats {how}, {second:.5f} without"
        return False

    def _plain(self, reading: Reading, text: list[int]) -> Tensor:
        """Log-probabilities ``[places, vocabulary]``; refuses a model that fails or whose answer is no number."""
        try:
            logits = reading.plain(text)
        except Exception as error:
            self._note(error, "plain")
            raise _Refused(self.seen) from error
        if logits.shape[1] != len(self.lm.allowed):
            raise _Refused(f"its head scores {logits.shape[1]:,} tokens, its embedding has {len(self.lm.allowed):,}")
        found = _log_probs(logits)
        if bool(found.isnan().any()) or bool((logits == torch.inf).any()):
            kind = str(self.lm.model.dtype).removeprefix("torch.")
            raise _Refused(f"it answers a text of {len(text)} tokens with NaN or infinity as {kind}")
        return found

    def _check_causal(self) -> None:
        """Refuses a model whose answers depend on what follows."""
        text, half = self.texts[1], len(self.texts[1]) // 2
        for reading, plain in zip(self.readings, self.plain, strict=True):
            if reading.continued is None or half == 0:
                continue
            shorter = self._plain(reading, text[:half])
            if not self._close(plain[1][: len(shorter)], shorter, "with them"):
                raise _Refused(
                    f"what it predicts of a token depends on the tokens after it ({self.seen}), so it does not read "
                    "from left to right"
                )

    def _note(self, error: Exception, how: str) -> None:
        if is_out_of_memory(error):
            raise error
        reason = " ".join(str(error).split())[:160]
        self.seen = f"it fails on a text ({how}; {type(error).__name__}: {reason})"


def _log_probs(logits: Tensor) -> Tensor:
    return at_least_float32(logits).log_softmax(dim=-1)


def _lengths(texts: Sequence[list[int]], device: torch.device) -> Tensor:
    """``int64 [texts, 1]``."""
    return torch.tensor([[len(text)] for text in texts], device=device)


def _name(model: Any) -> str:
    return f"{model.name_or_path!r}" if getattr(model, "name_or_path", "") else type(model).__name__


@contextmanager
def _generators_kept(device: torch.device) -> Iterator[None]:
    """Some models draw at random as they read, from global generators: these stay as they were."""
    state = np.random.get_state()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            yield
        finally:
            np.random.set_state(state)
