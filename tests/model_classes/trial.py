"""One class of model, tiny: built, saved, loaded through our code, and its energies beside plain transformers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from inspect import signature
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import transformers
from transformers import PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from tests.lm_adapters import tiny
from tests.model_classes.overrides import OVERRIDES
from tests.model_classes.recipe import tiny_config

__all__ = ["AUTO", "TEXTS", "Outcome", "build", "try_class"]

AUTO = {"masked": "AutoModelForMaskedLM", "causal": "AutoModelForCausalLM", "seq2seq": "AutoModelForSeq2SeqLM"}
WORDS = [c + v for c, v in product("bdfgklmnprst", "aeiou")] + ["we", "you", "they", "music", "night", "house"]
TEXTS = ["ba de music fi go", "we go night", "ku la me ni ro su ta be house di fo gu"]
SOURCE = "we li na no nu"
SPARE, LARGEST = 8, 20_000_000
SCALE = 3.0  # of the usual weights, so that texts matter
SCALES = {"funnel": 1.0}  # rounding grows with them
START, END = 2, 3

Outcome = dict[str, Any]


class Unbuilt(Exception):
    """A class that this recipe cannot build; the message says why."""


def tokenizer() -> transformers.PreTrainedTokenizerFast:
    """One token a word, ``[CLS] text [SEP]``, with a start and an end for those that read from left to right."""
    made = tiny.word_level(WORDS)
    made.bos_token, made.eos_token = "[CLS]", "[SEP]"
    return made


def build(task: str, model_type: str) -> PreTrainedModel:
    """A model of random weights, always the same. Raises ``Unbuilt``."""
    size = len(tokenizer()) + SPARE
    more = OVERRIDES.get((task, model_type), OVERRIDES.get(model_type, {}))
    auto = getattr(transformers, AUTO[task])
    try:
        config = tiny_config(CONFIG_MAPPING[model_type], size, **more)
        if task == "causal" and getattr(config, "is_decoder", None) is False:
            config.is_decoder = True
        if config.is_encoder_decoder:
            config.decoder_start_token_id, config.eos_token_id = START, END
        with torch.device("meta"):
            parameters = sum(weight.numel() for weight in auto.from_config(config).parameters())
        if parameters > LARGEST:
            raise Unbuilt(f"{parameters:,} parameters at the least")
        torch.manual_seed(0)
        model: PreTrainedModel = auto.from_config(config).eval()
        ids = torch.tensor([[START, 9, 17, 25, END]])
        target = {"decoder_input_ids": ids[:, :3]} if config.is_encoder_decoder else {}
        with torch.no_grad():
            logits = tiny.enlarged(model, SCALES.get(model_type, SCALE))(input_ids=ids, **target).logits
    except Unbuilt:
        raise
    except Exception as error:
        raise Unbuilt(f"{type(error).__name__}: {' '.join(str(error).split())[:120]}") from error
    if logits.shape[-1] < len(tokenizer()):
        raise Unbuilt(f"its head has {logits.shape[-1]} tokens")
    return model


def try_class(task: str, model_type: str, folder: Path) -> Outcome:
    """What became of the class, and by how many nats its energies differ from those of the plain model at most."""
    # Some types put a tokenizer of their own class in place of the one that is saved with them.
    with patch.object(transformers.AutoTokenizer, "from_pretrained", saved_tokenizer):
        return _tried(task, model_type, folder)


def saved_tokenizer(folder: str, **_: object) -> transformers.PreTrainedTokenizerFast:
    return transformers.PreTrainedTokenizerFast.from_pretrained(folder)


def _tried(task: str, model_type: str, folder: Path) -> Outcome:
    from lm_adapters import CausalLM, MaskedLM, Seq2SeqLM
    from samplers import InvalidInput

    model = build(task, model_type)
    name = {"class": type(model).__name__}
    tiny.save(model, tokenizer(), folder)
    # Some types put a tokenizer of their own class in place of the one that is saved with them.
    transformers.AutoTokenizer.from_pretrained = lambda path, **_: transformers.PreTrainedTokenizerFast.from_pretrained(
        path
    )
    kinds: dict[str, Any] = {"masked": MaskedLM, "causal": CausalLM, "seq2seq": Seq2SeqLM}
    try:
        lm = kinds[task].from_pretrained(str(folder))
    except InvalidInput as error:
        return {**name, "outcome": "refused", "why": str(error).replace(str(folder), model_type)}
    route = str(lm.route)
    plain = partial(plain_energy, getattr(transformers, AUTO[task]).from_pretrained(folder).eval(), task)
    return {**name, "outcome": route, "score": scored(task, folder, plain), "kept": kept(task, folder, plain)}


def scored(task: str, folder: Path, plain: Callable[[str], float]) -> float:
    """Texts of unequal length through ``score``, together and alone."""
    from experiments.score import score

    source = {"source": SOURCE} if task == "seq2seq" else {}
    together = [line["energy"] for line in score(TEXTS, models=[str(folder)], **source)]
    alone = [line["energy"] for text in TEXTS for line in score([text], models=[str(folder)], **source)]
    expected = [plain(text) for text in TEXTS]
    return max(abs(a - b) for found in (together, alone) for a, b in zip(found, expected, strict=True))


def kept(task: str, folder: Path, plain: Callable[[str], float]) -> float:
    """Energies that runs have written: ``keywords`` by two samplers, ``translate`` for models with a source."""
    from experiments.keywords import keywords
    from experiments.translate import translate

    proposer = _proposer(folder.parent / "proposer")
    settings: dict[str, Any] = {
        "model": str(proposer),
        "steps": 24,
        "warmup": 4,
        "chains": 4,
        "progress": False,
        "temperature": 1.0,
    }
    settings |= {"scorer": str(folder), "thin": 2}
    worst = 0.0
    for number, sampler in enumerate(("mh",) if task == "seq2seq" else ("mh", "gibbs")):
        out = folder.parent / f"run{number}"
        if task == "seq2seq":
            translate(SOURCE, must_contain=["music"], prefix="", sampler=sampler, out=str(out), **settings)
        else:
            keywords(["music"], sampler=sampler, length=(3, 9), shortlist=8, out=str(out), **settings)
        lines = [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]
        worst = max(worst, *(abs(line["energy"] - plain(line["text"])) for line in lines))
        shutil.rmtree(out)
    return worst


def _proposer(folder: Path) -> Path:
    model = tiny.bert(tokenizer(), max_position_embeddings=64)
    return tiny.save(tiny.enlarged(model, SCALE), tokenizer(), folder)


def plain_energy(model: PreTrainedModel, task: str, text: str) -> float:
    """In nats, by full passes over the text alone, without padding or cache."""
    words = tokenizer()(text, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        if task == "masked":
            return sum(_site(model, words, site) for site in range(len(words)))
        ids = torch.tensor([[START, *words]])
        inputs: dict[str, Any] = {"input_ids": ids}
        if task == "seq2seq":
            inputs = {"input_ids": torch.tensor([tokenizer()(SOURCE)["input_ids"]]), "decoder_input_ids": ids}
        if "use_cache" in signature(model.forward).parameters:
            inputs["use_cache"] = False
        law = model(**inputs).logits[0].double().log_softmax(dim=1)
        return -float(law.gather(1, torch.tensor([*words, END]).unsqueeze(1)).sum())


def _site(model: PreTrainedModel, words: list[int], site: int) -> float:
    masked = [*words[:site], tokenizer().mask_token_id, *words[site + 1 :]]
    logits = model(input_ids=torch.tensor([[START, *masked, END]])).logits[0, site + 1]
    return -float(logits.double().log_softmax(dim=0)[words[site]])
