"""A masked language model as a classifier: which of some words it expects in a template that holds the text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lm_adapters.attributes.labels import TextClassifier
from lm_adapters.fingerprint import Fingerprinted
from samplers import InvalidInput

if TYPE_CHECKING:
    from lm_adapters.models.masked_lm import MaskedLM

__all__ = ["ZeroShotClassifier"]

TEXT, LABEL = "{text}", "{label}"
SAMPLE = "a"  # a text, when the words are tokenised beforehand
FILLERS = ("a", "b", "8")  # with what stands in a word's place, its tokens are told from those of the template


class ZeroShotClassifier(Fingerprinted, TextClassifier):
    """``p(word | text) = p(word at the mask | template) / sum over words``, by a masked model, without training.

    ``template`` holds ``{text}`` and ``{label}`` once each, ``"{text} It was {label}."``; ``words`` are the labels
    (Schick and Schütze 2021, arXiv:2001.07676). A word must be one token where it stands: of several tokens together a
    masked model has no probability, only one for each order of filling them.

    Cost: one pass a text, the vocabulary head at one site. Raises ``InvalidInput`` for a template without the two, for
    fewer than two words, and for a word of several tokens, of none that the model knows, or of those of another word.
    """

    def __init__(self, lm: MaskedLM, template: str, words: Sequence[str]) -> None:
        if template.count(TEXT) != 1 or template.count(LABEL) != 1:
            raise InvalidInput(
                f"the template {template!r} needs {TEXT} and {LABEL} once each, as in '{TEXT} It was {LABEL}.'"
            )
        if len(words) < 2:
            raise InvalidInput(
                f"there is no word to compare {', '.join(map(repr, words)) or 'with'} with; give at least two"
            )
        self.lm, self.template, self.labels = lm, template, tuple(words)
        self.model, self.space = lm.model, lm.space
        self._after = template.index(TEXT) < template.index(LABEL)
        self._site, tokens = self._place_of([*words])
        self._tokens = torch.tensor(tokens, device=lm.device)

    def config(self) -> dict[str, object]:
        return {**super().config(), "template": self.template, "labels": list(self.labels)}

    def log_probs(self, texts: Sequence[str]) -> Tensor:
        rows = self._rows([self.template.replace(LABEL, self.labels[0]).replace(TEXT, text) for text in texts])
        found = torch.full((len(rows), len(self.labels)), -torch.inf, dtype=torch.float64, device=self.lm.device)
        sites = [len(row) - self._site if self._after else self._site for row in rows]
        whole = [
            row
            for row, site in enumerate(sites)
            if len(rows[row]) <= self.lm.max_length and rows[row][site] == int(self._tokens[0])
        ]
        if not whole:
            return found
        width = max(len(rows[row]) for row in whole)
        x = torch.tensor([rows[row] + [self.space.pad_id] * (width - len(rows[row])) for row in whole])
        hidden = torch.arange(width) == torch.tensor([sites[row] for row in whole]).unsqueeze(1)
        logits = self.lm.logits(x.to(self.lm.device), hidden.to(self.lm.device))
        found[whole] = logits[:, self._tokens].double().log_softmax(dim=1)
        return found

    def _rows(self, texts: Sequence[str]) -> list[list[int]]:
        ids: list[list[int]] = self.space.tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
        return ids

    def _place_of(self, words: list[str]) -> tuple[int, list[int]]:
        """The place of the label's token, counted from the side where the text is not, and the token of each word."""
        sample = self.template.replace(TEXT, SAMPLE)
        fillers = self._rows([sample.replace(LABEL, filler) for filler in FILLERS])
        tokens: list[int] = []
        places = set()
        for word, row in zip(words, self._rows([sample.replace(LABEL, word) for word in words]), strict=True):
            start = min(_shared(row, other) for other in fillers)
            end = len(row) - min(_shared(row[::-1], other[::-1]) for other in fillers)
            if end - start > 1:
                raise InvalidInput(
                    f"the label word {word!r} is {end - start} tokens in {self.template!r}, and a masked model has no "
                    "probability of several together; give words that are one token each"
                )
            if end <= start or self.space.cannot_be_text(row[start:end]):
                raise InvalidInput(f"the model has no token for the label word {word!r}; give another")
            if row[start] in tokens:
                raise InvalidInput(
                    f"the label words {words[tokens.index(row[start])]!r} and {word!r} are the same to the model; "
                    "give others"
                )
            tokens.append(row[start])
            places.add(len(row) - start if self._after else start)
        assert len(places) == 1, "words of one token each stand in the same place"
        return places.pop(), tokens


def _shared(row: list[int], other: list[int]) -> int:
    """How many tokens the two begin with together."""
    pairs = zip(row, other, strict=False)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(row), len(other)))
