"""Models of several languages: the source's special tokens and the target's first token, beside transformers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers import processors
from transformers import (
    M2M100Config,
    M2M100ForConditionalGeneration,
    MBart50Tokenizer,
    MBartConfig,
    MBartForConditionalGeneration,
    MBartTokenizer,
    NllbTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from lm_adapters import Seq2SeqLM, SequenceEnergy
from samplers import InvalidInput
from tests.lm_adapters import tiny, tiny_seq2seq
from tests.lm_adapters.tiny_seq2seq import PIECES, bart_sizes

Built = tuple[PreTrainedModel, PreTrainedTokenizerBase]

SOURCE, TEXTS = "hello b c", ["a b c d", "e", "hello z a"]
FRAME = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -5.0)]


class MarkedCodes(PreTrainedTokenizerFast):
    """``__en__ text </s>`` for the code ``en``, as M2M100's, which needs a package for sentencepiece."""

    lang_code_to_id: dict[str, int]
    tgt_lang: str | None = None

    @property
    def src_lang(self) -> str:
        return self._code

    @src_lang.setter
    def src_lang(self, code: str) -> None:
        self._code = code
        special = [(token, self.convert_tokens_to_ids(token)) for token in (f"__{code}__", "</s>")]
        self.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single=f"__{code}__ $A </s>", special_tokens=special
        )


def marked_codes() -> PreTrainedTokenizerBase:
    tokenizer = MarkedCodes(
        tokenizer_object=tiny_seq2seq.sentencepiece().backend_tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        bos_token="<s>",
    )
    tokenizer.add_tokens(["__en__", "__fr__", "__de__"])  # no special ones, as M2M100's
    tokenizer.lang_code_to_id = {code: tokenizer.convert_tokens_to_ids(f"__{code}__") for code in ("en", "fr", "de")}
    tokenizer.src_lang = "en"
    return tokenizer


def m2m100(tokenizer: PreTrainedTokenizerBase) -> Built:
    return M2M100ForConditionalGeneration(M2M100Config(**bart_sizes(tokenizer))), tokenizer


def nllb(**settings: object) -> Built:
    vocabulary = {piece: index for index, (piece, _) in enumerate([*FRAME, *PIECES])}
    return m2m100(NllbTokenizer(vocab=vocabulary, merges=[("▁", "h"), ("▁h", "e")], **settings))


def mbart50() -> Built:
    codes = [("en_XX", 0.0), ("fr_XX", 0.0), ("<mask>", 0.0)]
    tokenizer = MBart50Tokenizer(vocab=[*FRAME, *PIECES, *codes])
    return MBartForConditionalGeneration(MBartConfig(**bart_sizes(tokenizer, decoder_start_token_id=2))), tokenizer


def mbart() -> Built:
    """Starts with the language, and so has no start of its own."""
    tokenizer = MBartTokenizer(vocab=[*FRAME, *PIECES])
    return MBartForConditionalGeneration(MBartConfig(**bart_sizes(tokenizer))), tokenizer


CLASSES: dict[str, tuple[Callable[[], Built], str, str]] = {
    "nllb": (nllb, "fra_Latn", "deu_Latn"),
    "nllb legacy": (lambda: nllb(legacy_behaviour=True), "fra_Latn", "deu_Latn"),
    "m2m100": (lambda: m2m100(marked_codes()), "fr", "de"),
    "mbart50": (mbart50, "fr_XX", "en_XX"),
    "mbart": (mbart, "fr_XX", "ro_RO"),
}
classes = pytest.mark.parametrize("name", CLASSES)


def built(name: str) -> Built:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model, tokenizer = CLASSES[name][0]()
    return tiny.enlarged(model, 8.0).double().eval(), tokenizer


def chosen(name: str) -> Seq2SeqLM:
    _, source, target = CLASSES[name]
    return Seq2SeqLM(*built(name), source_lang=source, target_lang=target)


def token(tokenizer: PreTrainedTokenizerBase, code: str) -> int:
    return tokenizer.convert_tokens_to_ids(f"__{code}__" if hasattr(tokenizer, "_code") else code)


@classes
def test_log_p_is_that_of_transformers_with_the_language_forced(name: str):
    lm, (model, tokenizer), (_, source, target) = chosen(name), built(name), CLASSES[name]
    tokenizer.src_lang = source
    read = tokenizer(SOURCE, return_tensors="pt")
    assert token(tokenizer, source) in read["input_ids"]
    start = [] if name == "mbart" else [model.generation_config.decoder_start_token_id]
    energies = SequenceEnergy(lm.condition_on(SOURCE))(lm.space.encode(TEXTS))
    for text, energy in zip(TEXTS, energies.tolist(), strict=True):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        before = [*start, token(tokenizer, target)]
        with torch.inference_mode():
            logits = model(**read, decoder_input_ids=torch.tensor([before + ids])).logits[0, len(before) - 1 :]
        wanted = torch.tensor([*ids, tokenizer.eos_token_id])
        assert -float(logits.log_softmax(dim=1).gather(1, wanted.unsqueeze(1)).sum()) == pytest.approx(energy, abs=1e-8)


@classes
def test_the_translation_is_that_of_generate(name: str):
    lm, (model, tokenizer), (_, source, target) = chosen(name), built(name), CLASSES[name]
    tokenizer.src_lang = source
    code = token(tokenizer, target)
    how = {"decoder_start_token_id": code} if name == "mbart" else {"forced_bos_token_id": code}
    never = (~lm.allowed).nonzero().squeeze(1).tolist()
    never.remove(tokenizer.eos_token_id)
    written = model.generate(
        **tokenizer(SOURCE, return_tensors="pt"),
        **how,
        num_beams=1,
        do_sample=False,
        max_new_tokens=9 + len(how.keys() & {"forced_bos_token_id"}),
        bad_words_ids=[[token] for token in never],
        forced_eos_token_id=None,
        begin_suppress_tokens=[tokenizer.eos_token_id],
    )
    text = lm.translate(SOURCE, max_length=9, beams=1).strip()
    theirs = tokenizer.decode(written[0], skip_special_tokens=True).replace("__de__", "").strip()
    assert theirs.startswith(text)  # which may be shorter by what its first blank takes up
    assert len(text) > 5


@classes
def test_codes_are_never_text(name: str):
    lm = chosen(name)
    assert not lm.allowed[[token(lm.tokenizer, code) for code in CLASSES[name][1:]]].any()


@classes
def test_another_language_is_another_law(name: str):
    _, source, target = CLASSES[name]
    model, tokenizer = built(name)
    pairs = [(source, target), (target, target), (source, source)]
    models = [Seq2SeqLM(model, tokenizer, source_lang=one, target_lang=other) for one, other in pairs]
    x = models[0].space.encode(TEXTS)
    energies = [SequenceEnergy(lm.condition_on(SOURCE))(x) for lm in models]
    assert all(not torch.equal(energies[0], other) for other in energies[1:])
    assert len({str(lm.config()) for lm in models}) == 3
    for lm in models:
        lm.close()


@classes
def test_the_tokenizer_is_left_as_it_was(name: str):
    model, tokenizer = built(name)
    before = tokenizer(SOURCE)["input_ids"]
    Seq2SeqLM(model, tokenizer, source_lang=CLASSES[name][1], target_lang=CLASSES[name][2])
    assert tokenizer(SOURCE)["input_ids"] == before


def test_a_tokenizer_that_was_set_to_two_languages_decides():
    model, tokenizer = nllb(src_lang="fra_Latn", tgt_lang="deu_Latn")
    lm = Seq2SeqLM(model, tokenizer)
    assert lm.languages == ("fra_Latn", "deu_Latn")
    assert lm.context == [2, tokenizer.convert_tokens_to_ids("deu_Latn")]


def test_the_models_settings_may_force_the_target():
    model, tokenizer = built("mbart50")
    model.generation_config.forced_bos_token_id = tokenizer.convert_tokens_to_ids("en_XX")
    assert Seq2SeqLM(model, tokenizer, source_lang="fr_XX").languages == ("fr_XX", "en_XX")


def test_languages_are_asked_for_after_a_folder_was_loaded(tmp_path: Path):
    model, tokenizer = built("nllb")
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(InvalidInput, match=r"give source_lang and target_lang: deu_Latn, eng_Latn, .* and \d+ more$"):
        Seq2SeqLM.from_pretrained(str(tmp_path))
    with pytest.raises(InvalidInput, match="give target_lang"):
        Seq2SeqLM.from_pretrained(str(tmp_path), source_lang="eng_Latn")
    lm = Seq2SeqLM.from_pretrained(str(tmp_path), source_lang="eng_Latn", target_lang="fra_Latn")
    assert lm.languages == ("eng_Latn", "fra_Latn")


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("mbart50", {"source_lang": "fr", "target_lang": "en_XX"}, "source_lang 'fr' is no language .* fr_XX"),
        ("mbart50", {"source_lang": "fr_XX", "target_lang": "english"}, "target_lang 'english' is no .* en_XX"),
    ],
)
def test_an_unknown_language(name: str, given: dict[str, str], message: str):
    with pytest.raises(InvalidInput, match=message):
        Seq2SeqLM(*built(name), **given)


# Tasks of the configuration


def with_tasks(*pairs: str) -> Built:
    model, tokenizer = tiny_seq2seq.CLASSES["t5"]()
    tasks = {f"translation_{pair}": {"prefix": f"<extra_id_{n}>"} for n, pair in enumerate(pairs)}
    model.config.task_specific_params = {**tasks, "summarization": {"prefix": "hello"}}
    return model, tokenizer


def test_languages_choose_a_task():
    lm = Seq2SeqLM(*with_tasks("fr_to_en", "de_to_en"), source_lang="de")
    assert lm.languages == ("de", "en")
    assert lm.translations == {("fr", "en"): "<extra_id_0>", ("de", "en"): "<extra_id_1>"}
    assert Seq2SeqLM(*with_tasks("fr_to_en")).languages is None


def test_languages_that_are_no_task():
    with pytest.raises(InvalidInput, match="the model translates fr to en, de to en; give source_lang and target_lang"):
        Seq2SeqLM(*with_tasks("fr_to_en", "de_to_en"), target_lang="en")
    with pytest.raises(InvalidInput, match="this one has neither"):
        Seq2SeqLM(*tiny_seq2seq.CLASSES["bart"](), source_lang="fr")
