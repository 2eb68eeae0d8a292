"""Chinese: the models that ``lang`` or a card chooses, keywords wherever they stand, texts without blanks."""

# ruff: noqa: RUF001  (full-width marks are Chinese)
from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, LlamaConfig, LlamaForCausalLM

from experiments.gibbs import gibbs
from experiments.keywords import keywords
from experiments.paraphrase import paraphrase
from experiments.setup.languages import remark_on_language, remark_on_source, remark_on_spelling
from experiments.setup.usual_models import masked_model_of, usual_models
from experiments.training.chinese.corpus import character_tokenizer
from lm_adapters import Keywords, MaskedLM, SourceBleu, TextSpace, WordLimit, word_spans
from samplers import InvalidInput
from tests.experiments.test_languages import remarks
from tests.experiments.tiny_scorers import tiny_writer

COUPLETS = ["床前明月光，疑是地上霜。", "举头望明月，低头思故乡。", "春风吹又生，明月来相照。", "Tom在3点来。"]
SIZES = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
SMALL = {"chains": 2, "steps": 4, "warmup": 0, "thin": 1}


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A folder of embedded models: tiny ones, of characters, for Chinese."""
    folder = tmp_path_factory.mktemp("pretrained")
    tokenizer = character_tokenizer(COUPLETS * 3)
    torch.manual_seed(0)
    size = {"vocab_size": len(tokenizer), "pad_token_id": 0, **SIZES}
    made = {"masked-zh": BertForMaskedLM(BertConfig(**size)), "causal-zh": LlamaForCausalLM(LlamaConfig(**size))}
    for name, model in made.items():
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
        (folder / name / "README.md").write_text("---\nlanguage: zh\n---\n")
    return folder


@pytest.fixture
def shipped(home, monkeypatch) -> Path:
    monkeypatch.setattr("lm_adapters.pretrained.HERE", home)
    return home


@dataclass
class Default:
    """As much of an argument as is looked at."""

    name: str
    default: str
    kinds: tuple[str, ...] = ()
    task: str | None = None

    def takes_named(self, kind: str) -> bool:
        return kind in self.kinds


DEFAULTS = [
    Default("model", "masked-en"), Default("scorer", "seq2seq-en", ("CausalLM", "Seq2SeqLM")),
    Default("rebuilder", "seq2seq-en", ("Seq2SeqLM",)), Default("encoder", "x"),
]  # fmt: skip


def chosen(lang: str | None, **given: str) -> list[str]:
    values = {"lang": lang} | given
    found = {each.name: each.default for each in DEFAULTS} | usual_models(DEFAULTS, values) | values
    return [found[each.name] for each in DEFAULTS]


def test_the_models_of_a_language(shipped):
    assert chosen(None) == chosen("en") == ["masked-en", "seq2seq-en", "seq2seq-en", "x"]
    chinese = ["masked-zh", "causal-zh", "seq2seq-zh", "x"]
    assert chosen("zh") == chinese
    assert chosen(None, model="masked-zh") == chinese
    assert chosen(None, model=str(shipped / "masked-zh"))[1:] == chinese[1:]
    assert chosen("zh", scorer="mine")[1] == "mine"
    assert chosen("zh", scorer="seq2seq-en") == ["masked-zh", "seq2seq-en", "seq2seq-zh", "x"]
    assert chosen("en", model="masked-zh")[1] == "seq2seq-en"
    assert [masked_model_of(lang) for lang in (None, "en", "zh")] == ["masked-en", "masked-en", "masked-zh"]


def test_a_scorer_has_the_task_that_it_stands_for(home, tmp_path, monkeypatch, mcmc_text):
    monkeypatch.setattr("lm_adapters.pretrained.HERE", tmp_path)
    for name in ("masked-zh", "causal-zh"):
        (tmp_path / name).symlink_to(home / name)
    tiny_writer(character_tokenizer(COUPLETS * 3), "words_to_sentence").model.save_pretrained(tmp_path / "seq2seq-zh")
    (tmp_path / "seq2seq-zh" / "README.md").write_text("---\nlanguage:\n- zh\n- en\n---\n")
    kinds = ("CausalLM", "Seq2SeqLM")
    tasks = {"words": "words_to_sentence", "other": "paraphrase", "any": None}
    arguments = [Default(name, "seq2seq-en", kinds, task) for name, task in tasks.items()]
    found = usual_models(arguments, {"lang": "zh"})
    assert found == {"words": "seq2seq-zh", "other": "causal-zh", "any": "seq2seq-zh"}
    given = usual_models([*DEFAULTS[:1], *arguments[:1]], {"words": "seq2seq-zh", "lang": None})
    assert given["model"] == "masked-zh"
    for command in (("paraphrase", "春风"), ("summarize", "春风明月", "--max-words", "2", "--rebuilder", "seq2seq-zh")):
        scorer = ("--scorer", "seq2seq-zh") if command[0] == "paraphrase" else ()
        result = mcmc_text(*command, "--lang", "zh", *scorer)
        assert result.exit_code == 2
        (line,) = result.stderr.splitlines()
        assert "'seq2seq-zh' has no task 'paraphrase' (its configuration lists words_to_sentence)" in line


def test_a_model_that_is_not_there_is_named(shipped, mcmc_text, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("lm_adapters.pretrained.HERE", tmp_path)
        with pytest.raises(InvalidInput, match="there is no masked-zh among the embedded models"):
            masked_model_of("zh")
    result = mcmc_text("translate", "Good night.", "--lang", "zh")
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: there is no seq2seq-zh among the embedded models (causal-zh, masked-zh): give a")


def test_keywords_wherever_they_stand(shipped):
    run = keywords(["明月", "春风"], lang="zh", any_order=True, length=(6, 9), writer="none", seed=3, **SMALL)
    assert run.config["model"] == "masked-zh"
    assert run.config["scorer"] == "causal-zh"
    texts = [sample["text"] for sample in run.samples()]
    assert texts
    assert all("明月" in text and "春风" in text for text in texts)
    assert all(6 <= len(text) <= 9 for text in texts)
    lock = Keywords(MaskedLM.from_pretrained("masked-zh").space, ["明月", "月光"])
    held = [lock.space.encode([text]) for text in ("见明月在月光", "明月Tom月光。", "月光明月", "明月光")]
    assert [bool(lock.found(x)) for x in held] == [True, True, False, False]


def test_every_chain_starts_from_the_text(shipped):
    run = gibbs(init=COUPLETS[0], model="masked-zh", **{**SMALL, "steps": 1})
    assert "causal-zh" in run.summary()["target"]
    close = [sum(a == b for a, b in zip(sample["text"], COUPLETS[0], strict=False)) for sample in run.samples()]
    assert max(close) >= len(COUPLETS[0]) - 3


def test_paraphrase_by_characters(shipped):
    run = paraphrase(COUPLETS[1], lang="zh", chains=2, steps=2)
    assert run.config["scorer"] == "causal-zh"


def test_score(shipped, mcmc_text):
    result = mcmc_text("score", "--lang", "zh", "-", input="\n".join(COUPLETS))
    assert result.exit_code == 0, result.stderr
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["text"] for row in rows] == COUPLETS


def test_what_is_said_of_another_language(shipped, embedded):
    lm = MaskedLM.from_pretrained("masked-zh")
    assert remarks(remark_on_language, "text", COUPLETS, lm) == []
    assert remarks(remark_on_spelling, ["明月", "Tom"], lm) == []
    (line,) = remarks(remark_on_language, "text", ["A small house"], lm)
    assert line.startswith("masked-zh knows Chinese and finds no Chinese character in text; for another language")


def test_english_models_point_to_chinese_ones(embedded):
    (line,) = remarks(remark_on_spelling, ["春风"], embedded)
    assert line.endswith("spells '春风' in pieces of characters; for Chinese give lang zh")


def test_characters_count_as_words(home):
    space = TextSpace(character_tokenizer(COUPLETS * 3))
    assert [text[a:b] for text in ["Tom的3本书，don't。"] for a, b in word_spans(text)] == [
        "Tom", "的", "3", "本", "书", "don't",
    ]  # fmt: skip
    x = space.encode(COUPLETS[:2])
    assert WordLimit(space, 9)(x).isinf().all()
    assert not WordLimit(space, 10)(x).isinf().any()
    bleu = SourceBleu(space, COUPLETS[0])(x)
    assert bleu[0] > 4
    assert bleu[1] < 1


def test_what_is_translated_from_english_is_english():
    lm = tiny_writer(character_tokenizer(COUPLETS * 3), "translation_en_to_zh")
    lm.model.config.name_or_path = "seq2seq-zh"
    said = [remarks(remark_on_source, lm, ("en", "zh"), text, 0.0, lm) for text in ("Good night.", COUPLETS[0])]
    assert said == [[], ["seq2seq-zh reads English, and text holds Chinese characters; give English"]]
