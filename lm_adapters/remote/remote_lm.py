"""A causal model behind a server, and the energy ``-log p(x)`` of texts that it gives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lm_adapters.fingerprint import vocabulary_digest
from lm_adapters.remote.server import PromptLogProbs, Server, ServerError, remote_name
from lm_adapters.text import TextSpace
from samplers import EnergyTerm, InvalidInput

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["RemoteEnergy", "RemoteLM", "load_remote"]

BATCH = 64  # texts a request: the server makes its own batches of them
LONGEST = 2048  # tokens of a text, where neither server nor tokenizer says
ROUNDING = 1e-3  # nats by which a log-probability may be above 0
PROBES = (
    "The night was long, and nobody spoke of music.",
    "Is it 7:45 already? She can't have left the house on Monday!",
)
TOKENS = 64  # of the vocabulary, evenly spaced, that are compared too
SHOWN = 60  # characters of a text in a message


class RemoteLM:
    """The model ``name`` behind the server at ``url``, which reads ``start, text, end`` as ``CausalLM`` does.

    ``tokenizer`` is that of the model. Nothing but log-probabilities of whole texts is asked for, by token, so that
    server and tokenizer need not agree on how a text is cut. At construction a few texts are scored.

    Raises ``InvalidInput`` where the server does not answer within seconds, does not have the model, returns no
    log-probabilities of the prompt, or has another vocabulary.
    """

    model = None  # there are no weights here
    task = "remote"

    def __init__(self, url: str, name: str, tokenizer: PreTrainedTokenizerBase, *, label: str = "") -> None:
        end = tokenizer.sep_token_id if tokenizer.eos_token_id is None else tokenizer.eos_token_id
        if end is None:
            raise InvalidInput("the tokenizer has neither an end token nor a separator, so no text has a probability")
        starts = (tokenizer.bos_token_id, tokenizer.cls_token_id, end)
        self.server, self.space = Server(url), TextSpace(tokenizer)
        self.eos_id: int = end
        self.start_id: int = next(start for start in starts if start is not None)
        try:
            self.name, facts = _served(Server(url, retries=1), name)
            most = facts.get("max_model_len")
            limit = most if type(most) is int else min(tokenizer.model_max_length, LONGEST)
            self.max_length = limit - 3  # a server counts the start, the end and what it goes on with
            self._compare_tokens(label or name)
        except ServerError as error:
            raise InvalidInput(str(error)) from error

    def config(self) -> dict[str, Any]:
        """What draws depend on, as far as it is known here; weights are not. The address may change."""
        return {"class": "RemoteLM", "name": self.name, "vocabulary": vocabulary_digest(self.space.tokenizer)}

    def log_probs(self, ids: Sequence[Sequence[int]]) -> list[float]:
        """``log p`` in nats of texts of these tokens, with their ends. Raises ``ServerError``."""
        prompts = [[self.start_id, *tokens, self.eos_id] for tokens in ids]
        found, totals = self.server.prompt_log_probs(self.name, prompts), []
        for prompt, said in zip(prompts, found, strict=True):
            if len(said) != len(prompt):
                raise self._unusable(f"{len(said)} log-probabilities for {len(prompt)} tokens")
            values = [said.of(at, prompt[at], self._read_as(prompt[at])) for at in range(1, len(prompt))]
            wrong = [value for value in values if value is None or math.isnan(value) or value > ROUNDING]
            if wrong:
                raise self._unusable(
                    "none of a token that was asked for" if wrong[0] is None else f"a value {wrong[0]}"
                )
            totals.append(math.fsum(min(value, 0.0) for value in values if value is not None))
        return totals

    def _read_as(self, token: int) -> str:
        return str(self.space.tokenizer.decode([token]))

    def _unusable(self, what: str) -> ServerError:
        return ServerError(f"the server {self.server.url} returns {what}, where log-probabilities of a text were asked")

    def _compare_tokens(self, label: str) -> None:
        """The server cuts texts by itself here. Raises ``InvalidInput`` where it makes other tokens of them."""
        tokenizer = self.space.tokenizer
        known = self.space.proposable.nonzero().squeeze(1).tolist()
        texts = [*PROBES, str(tokenizer.decode(known[:: max(1, len(known) // TOKENS)][:TOKENS]))]
        cut = {text: tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts}
        texts = [text for text, ids in cut.items() if len(ids) <= self.max_length]
        for text, said in zip(texts, self.server.prompt_log_probs(self.name, texts), strict=True):
            ids = cut[text]
            more = len(said) - len(ids)
            if more not in range(3) or not any(self._are(ids, said, first) for first in range(more + 1)):
                raise InvalidInput(
                    f"the server {self.server.url} has another vocabulary than {label!r}: it makes other tokens of "
                    f"{text[:SHOWN]!r}; give the tokenizer of the model that it serves"
                )
        self.log_probs([known[:1]])

    def _are(self, ids: Sequence[int], said: PromptLogProbs, first: int) -> bool:
        """Whether the server has these tokens from the place ``first`` on, after special ones that it puts there."""
        tokens = [(at, token) for at, token in enumerate(ids, start=first) if at]  # the first of all has no number
        return all(said.of(at, token, self._read_as(token)) is not None for at, token in tokens)


class RemoteEnergy(EnergyTerm):
    """``-log p(x)`` in nats by a ``RemoteLM``: of each token given those before it, and of the end.

    Cost: a request for 64 texts, none that this process computes. Raises ``ServerError`` where the server does not
    answer any more, after five more tries. It has neither gradients nor a cache of what was read, so that candidates of
    one text are each read as a whole.
    """

    expensive = True
    lower_bound = 0.0

    def __init__(self, lm: RemoteLM, name: str = "nll") -> None:
        self.lm, self.name = lm, name

    def config(self) -> dict[str, Any]:
        return {"lm": self.lm, "name": self.name}

    def texts(self, x: Tensor) -> list[str]:
        return self.lm.space.decode(x)

    def values(self, x: Tensor, hint: Any = None) -> Tensor:
        lengths = self.lm.space.lengths(x)
        if int(lengths.max()) > self.lm.max_length:
            raise InvalidInput(
                f"a text has {int(lengths.max())} tokens, the model takes {self.lm.max_length}; bound the length"
            )
        rows = [tokens[:length] for tokens, length in zip(x.tolist(), lengths.tolist(), strict=True)]
        totals: list[float] = []
        for first in range(0, len(rows), BATCH):
            totals += self.lm.log_probs(rows[first : first + BATCH])
        return -torch.tensor(totals, dtype=torch.float64, device=x.device)


def load_remote(address: str, tokenizer: str | None = None) -> RemoteLM:
    """By ``http://HOST:PORT/v1#MODEL``; ``tokenizer``: a folder or a name, by default what the server calls the model.

    Raises ``InvalidInput`` as ``RemoteLM`` does, and for a tokenizer that cannot be loaded.
    """
    from lm_adapters.loading.tokenizer import load_tokenizer

    url, name = remote_name(address)
    try:
        name, facts = _served(Server(url, retries=1), name)
    except ServerError as error:
        raise InvalidInput(str(error)) from error
    label = tokenizer or str(facts.get("root") or name)
    return RemoteLM(url, name, load_tokenizer(label, trust_remote_code=False), label=label)


def _served(server: Server, name: str) -> tuple[str, dict[str, Any]]:
    """The model of that name, or the only one, and what the server says of it."""
    models = server.models()
    if not name and len(models) == 1:
        return next(iter(models.items()))
    if name not in models:
        listed = ", ".join(map(repr, models)) or "none"
        asked = f"does not have the model {name!r}" if name else "has several models"
        raise InvalidInput(f"the server {server.url} {asked}; it lists {listed}: give one of them after #")
    return name, models[name]
