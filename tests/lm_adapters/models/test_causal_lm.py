"""``-log p(x)`` of every class of causal model against the loop that anyone would write by hand, and its cost."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import BartConfig, BartForConditionalGeneration, BloomConfig, BloomForCausalLM

from lm_adapters.energies.sequence_energy import SequenceEnergy
from lm_adapters.models.causal_lm import CausalLM, PromptedLM
from samplers import EnergyTerm, InvalidInput
from samplers.energy.evaluation import evaluate_candidates
from samplers.randomness import generator
from tests.lm_adapters import tiny, tiny_causal
from tests.lm_adapters.models.extending import extends_as_a_whole

TEXTS = ["a b c d", "the old house by the sea", "She's", "z"]
PROMPT = "We do not like"
classes = pytest.mark.parametrize("name", tiny_causal.CLASSES)
prompts = pytest.mark.parametrize("prompt", ["", PROMPT], ids=["no prompt", "prompt"])
budgets = pytest.mark.parametrize("tokens_per_pass", [1, 7, 10**6])


@cache
def lm(name: str, double: bool = False) -> CausalLM:
    return tiny_causal.build(name, double=double)


def with_budget(model: CausalLM, tokens: int) -> CausalLM:
    return CausalLM(model.model, model.space.tokenizer, tokens_per_pass=tokens)


def by_hand(model: CausalLM, start: int, prompt: str, texts: list[str], width: int) -> Tensor:
    """``float64 [rows, width + 1]``: one forward pass for each token of each text, over the whole vocabulary."""
    tokenizer = model.space.tokenizer
    terms = torch.zeros(len(texts), width + 1, dtype=torch.float64)
    for row, text in enumerate(texts):
        read = [start, *tokenizer(prompt, add_special_tokens=False)["input_ids"]]
        for place, token in enumerate([*tokenizer(text, add_special_tokens=False)["input_ids"], model.eos_id]):
            logits = model.model(input_ids=torch.tensor([read])).logits[0, -1].double()
            terms[row, place] = -logits.log_softmax(0)[token]
            read.append(token)
    return terms


@classes
@prompts
@pytest.mark.parametrize(("double", "exact"), [(False, 1e-5), (True, 1e-10)], ids=["float32", "float64"])
def test_energy_is_the_loop_by_hand(name: str, prompt: str, double: bool, exact: float):
    model = lm(name, double)
    x = model.space.encode(TEXTS, 12)
    start = model.space.tokenizer.convert_tokens_to_ids("<s>" if name == "llama" else "<|endoftext|>")
    expected = by_hand(model, start, prompt, TEXTS, 12)
    energy = SequenceEnergy(model.condition_on(prompt))
    torch.testing.assert_close(energy.token_terms(x), expected, atol=exact, rtol=0)
    torch.testing.assert_close(energy(x), expected.sum(dim=1), atol=4 * exact, rtol=0)
    assert energy(x).dtype == torch.float64
    assert not energy(x).requires_grad
    assert float(energy(x).std()) > 1


def test_a_prompt_is_read_as_the_text_before():
    """``-log p(a b | prompt) = -log p(prompt a b) + log p(prompt)``, the end of the prompt left out."""
    model = lm("llama", True)
    prompt, text, both = (model.space.encode([t]) for t in ("a b", " c d", "a b c d"))
    assert torch.equal(torch.cat([prompt, text], dim=1), both)
    whole, start = (
        SequenceEnergy(model.condition_on()).token_terms(both),
        SequenceEnergy(model.condition_on()).token_terms(prompt),
    )
    torch.testing.assert_close(whole[:, : prompt.shape[1]], start[:, :-1], atol=1e-10, rtol=0)
    given = whole.sum() - start[:, :-1].sum()
    torch.testing.assert_close(SequenceEnergy(model.condition_on("a b"))(text).sum(), given, atol=1e-10, rtol=0)


@classes
@prompts
@budgets
def test_energy_does_not_depend_on_the_budget(name: str, prompt: str, tokens_per_pass: int):
    model = lm(name, True)
    x = model.space.encode(TEXTS, 14)
    plain, cut = (
        SequenceEnergy(model.condition_on(prompt)),
        SequenceEnergy(with_budget(model, tokens_per_pass).condition_on(prompt)),
    )
    torch.testing.assert_close(cut(x), plain(x), atol=1e-10, rtol=0)
    site, values = torch.tensor([1, 1, 0, 0]), torch.arange(40, 52).reshape(4, 3)
    expected = EnergyTerm.candidate_values(plain, x, site, values)
    torch.testing.assert_close(cut.candidate_values(x, site, values), expected, atol=1e-10, rtol=0)


@classes
@prompts
@pytest.mark.parametrize(("double", "exact"), [(False, 1e-5), (True, 1e-10)], ids=["float32", "float64"])
def test_candidates_that_share_a_prefix(name: str, prompt: str, double: bool, exact: float):
    """Ragged texts, each site of each of them."""
    model = lm(name, double)
    energy, rng = SequenceEnergy(model.condition_on(prompt)), generator(0)
    texts = model.space.encode(TEXTS)
    x = texts.repeat_interleave(model.space.lengths(texts), dim=0)
    site = torch.cat([torch.arange(n) for n in model.space.lengths(texts).tolist()])
    allowed = model.allowed.nonzero().squeeze(1)
    values = allowed[torch.randint(len(allowed), (len(x), 6), generator=rng)]
    expected = EnergyTerm.candidate_values(energy, x, site, values)
    shared = energy.candidate_values(x, site, values)
    torch.testing.assert_close(shared, expected, atol=exact, rtol=1e-7)
    assert shared.dtype == torch.float64
    evaluation = evaluate_candidates(energy, x, site, values, max_rows=8)
    torch.testing.assert_close(evaluation.energy, expected, atol=exact, rtol=1e-7)


def test_candidates_that_change_the_length_are_scored_all_the_same():
    model = lm("llama", True)
    pad, energy = model.space.pad_id, SequenceEnergy(model.condition_on())
    letters = model.space.encode(["abc"])[0, :1]
    x = torch.tensor([[letters[0], letters[0] + 1, letters[0] + 2, pad, pad]]).expand(2, -1)
    last, values = torch.tensor([2, 2]), torch.tensor([[int(letters[0]), pad], [pad, int(letters[0])]])
    shorter, replaced = energy(x[:1, :2]), energy(torch.cat([x[:1, :2], letters.unsqueeze(0)], dim=1))
    expected = torch.stack([torch.cat([replaced, shorter]), torch.cat([shorter, replaced])])
    torch.testing.assert_close(energy.candidate_values(x, last, values), expected)
    longer = torch.cat([x[:1, :3], letters.unsqueeze(0)], dim=1)
    torch.testing.assert_close(energy.candidate_values(x, last + 1, letters.expand(2, 1)), energy(longer).expand(2, 1))


@classes
def test_calls_leave_the_kept_prompt_and_the_model_as_they_were(name: str):
    model = lm(name)
    given, x = model.condition_on(PROMPT), model.space.encode(TEXTS)
    with torch.inference_mode():
        first = SequenceEnergy(given)(x)
        _, kept = given.read(x[:1, :1], torch.ones(1, 2, dtype=torch.bool))
        given.extend(kept.take(torch.zeros(3, dtype=torch.int64)), x[:3, :1], torch.ones(3, 1, dtype=torch.bool))
        given.extend(kept, x[:1, :2], torch.ones(1, 2, dtype=torch.bool))
    assert torch.equal(SequenceEnergy(given)(x), first)
    assert torch.equal(SequenceEnergy(model.condition_on(PROMPT))(x), first)
    assert model.model(input_ids=x[:, :1]).logits.shape == (len(x), 1, model.space.vocabulary)


@classes
@prompts
def test_read_and_extend_are_the_pass_over_the_whole(name: str, prompt: str):
    """Prefixes of unlike length in one pass, rows taken out of order and more than once, one token and several."""
    model = lm(name, True).condition_on(prompt)
    assert model.ragged
    extends_as_a_whole(model, model.space.encode(["a b c d", "e f g h", "h g f e"]))


@classes
@prompts
def test_what_stands_in_the_padding_does_not_matter(name: str, prompt: str):
    model = lm(name, True)
    x = model.space.encode(TEXTS)
    alone = torch.cat(
        [SequenceEnergy(model.condition_on(prompt))(row[model.space.is_token(row)].unsqueeze(0)) for row in x]
    )
    torch.testing.assert_close(SequenceEnergy(model.condition_on(prompt))(x), alone, atol=1e-10, rtol=0)
    wide = torch.nn.functional.pad(x, (0, 30), value=model.space.pad_id)
    assert torch.equal(SequenceEnergy(model.condition_on(prompt))(wide), SequenceEnergy(model.condition_on(prompt))(x))


@classes
@prompts
def test_the_longest_text(name: str, prompt: str):
    model = lm(name)
    given = model.condition_on(prompt)
    spent = 1 + len(model.space.tokenizer(prompt, add_special_tokens=False)["input_ids"])
    assert given.max_length == tiny.POSITIONS - spent
    letter = int(model.space.encode(["a"])[0, 0])
    longest = torch.full((2, given.max_length), letter)
    assert SequenceEnergy(given)(longest).isfinite().all()
    limit = given.max_length
    with pytest.raises(InvalidInput, match=f"has {limit + 1} tokens, the model takes {limit}; bound the length"):
        SequenceEnergy(given)(torch.full((2, limit + 1), letter))


def test_a_model_without_positions_has_its_tokenizers_limit():
    tokenizer = tiny_causal.begin_and_end()
    tokenizer.model_max_length = 50
    config = BloomConfig(vocab_size=len(tokenizer), hidden_size=16, n_layer=1, n_head=2)
    model = CausalLM(BloomForCausalLM(config), tokenizer)
    x = model.space.encode(["a b c", "the old house"], 40)
    assert model.condition_on().max_length == 49
    expected = by_hand(model, 0, "", ["a b c", "the old house"], 40)
    torch.testing.assert_close(SequenceEnergy(model.condition_on()).token_terms(x), expected, atol=1e-5, rtol=0)


def test_a_prompt_without_room_for_a_text():
    prompt = " ".join("abcdefghijklmnopqrstuvw")
    count = len(lm("gpt2").space.encode([prompt])[0])
    with pytest.raises(InvalidInput, match=f"the prompt has {count} tokens and the model takes 24 in all; shorten it"):
        lm("gpt2").condition_on(prompt)


def test_a_prompt_that_the_tokenizer_does_not_know():
    model = tiny_causal.words_lm(["red", "green"])
    with pytest.raises(
        InvalidInput, match="prompt: the tokenizer cannot represent 'blue' at character 5 of 'red blue'"
    ):
        model.condition_on("red blue")
    assert model.condition_on("red").context == [model.start_id, 4]


def test_special_tokens_in_a_prompt_are_read_as_such():
    model = lm("gpt2")
    assert model.condition_on("<|endoftext|>a").context == [0, 0, int(model.space.encode(["a"])[0, 0])]


def test_without_an_end_there_is_no_probability():
    model = lm("llama").model
    tokenizer = tiny_causal.begin_and_end()
    tokenizer.eos_token = None
    with pytest.raises(
        InvalidInput, match=r"neither an end token nor a separator, .* \"eos_token\" into its tokenizer_config"
    ):
        CausalLM(model, tokenizer)


def test_a_budget_of_nothing():
    with pytest.raises(InvalidInput, match="tokens_per_pass is 0; give at least 1"):
        with_budget(lm("llama"), 0)


class Meter:
    """Counts of a model: decoder passes, tokens of their rows, and rows of the head."""

    def __init__(self, model: CausalLM) -> None:
        self.lm = model
        model.model.get_input_embeddings().register_forward_pre_hook(self._decoder)
        model.model.get_output_embeddings().register_forward_hook(self._head)
        self.reset()

    def reset(self) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.head_rows = 0

    def _decoder(self, module: torch.nn.Module, args: tuple) -> None:
        self.shapes.append(tuple(args[0].shape))

    def _head(self, module: torch.nn.Module, args: tuple, output: Tensor) -> None:
        self.head_rows += args[0][..., 0].numel()


@pytest.fixture(params=tiny_causal.CLASSES)
def meter(request: pytest.FixtureRequest) -> Iterator[Meter]:
    return Meter(tiny_causal.build(request.param))


@pytest.mark.parametrize("chains", [1, 2, 64])
def test_a_batch_is_one_pass_and_the_head_sees_each_token_and_the_end(meter: Meter, chains: int):
    x = meter.lm.space.encode(["a b", "a b c d e f"][:chains] * (chains // 2 or 1), 20)
    lengths = meter.lm.space.lengths(x)
    energy = SequenceEnergy(meter.lm.condition_on())
    energy(x)
    assert meter.shapes == [(chains, int(lengths.max()) + 1)]
    assert meter.head_rows == int((lengths + 1).sum())


def test_the_prompt_is_run_once(meter: Meter):
    energy, x = SequenceEnergy(meter.lm.condition_on(PROMPT)), meter.lm.space.encode(["a b c"] * 5)
    prompt = len(meter.lm.space.tokenizer(PROMPT, add_special_tokens=False)["input_ids"])
    for _ in range(3):
        energy(x)
    assert meter.shapes == [(1, prompt)] + [(5, x.shape[1] + 1)] * 3
    assert meter.head_rows == 3 * 5 * (x.shape[1] + 1)


def test_candidates_are_two_passes_whatever_their_sites(meter: Meter):
    x = meter.lm.space.encode(["a b c d e f"] * 4)
    width, site = x.shape[1], torch.tensor([4, 4, 4, 2])
    values = x[:, :1].expand(-1, 10)
    energy = SequenceEnergy(meter.lm.condition_on())
    meter.reset()
    energy.candidate_values(x, site, values)
    assert meter.shapes == [(4, 1 + 4), (40, width - 2)]
    assert meter.head_rows == 3 * 5 + 3 + 10 * (width - 2) + 30 * (width - 4)


def test_saved_and_loaded(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    for name in tiny_causal.CLASSES:
        model = lm(name)
        tiny.save(model.model, model.space.tokenizer, tmp_path / name)
        capfd.readouterr()
        again = CausalLM.from_pretrained(str(tmp_path / name))
        x = model.space.encode(TEXTS)
        assert torch.equal(SequenceEnergy(again.condition_on(PROMPT))(x), SequenceEnergy(model.condition_on(PROMPT))(x))
        half = SequenceEnergy(CausalLM.from_pretrained(str(tmp_path / name), dtype="bfloat16").condition_on(PROMPT))(x)
        assert capfd.readouterr() == ("", "")
        assert half.dtype == torch.float64
        torch.testing.assert_close(half, SequenceEnergy(model.condition_on(PROMPT))(x), rtol=0.1, atol=1.0)


def test_other_kinds_of_model_are_refused_in_a_line(tmp_path: Path):
    masked = tiny.save(tiny.bert(tiny.wordpiece()), tiny.wordpiece(), tmp_path / "masked")
    sides = {f"{s}_{k}": n for s in ("encoder", "decoder") for k, n in (("layers", 1), ("attention_heads", 1))}
    config = BartConfig(vocab_size=400, d_model=8, encoder_ffn_dim=8, decoder_ffn_dim=8, **sides)
    both = tiny.save(BartForConditionalGeneration(config), tiny.byte_level(), tmp_path / "seq2seq")
    for folder, kind in ((masked, "bert"), (both, "bart")):
        with pytest.raises(InvalidInput) as caught:
            CausalLM.from_pretrained(str(folder))
        assert str(caught.value) == f"{str(folder)!r} is a {kind} model; a causal language model is needed here"


def test_closed_the_model_is_given_back():
    model = tiny_causal.build("gpt2")
    body = model.model.base_model
    assert len(body._forward_hooks) == 1
    model.close()
    assert not body._forward_hooks


def test_the_budget_can_be_changed_later():
    model = tiny_causal.build("gpt2")
    given: PromptedLM = model.condition_on()
    model.tokens_per_pass = 5
    assert given.tokens_per_pass == 5
