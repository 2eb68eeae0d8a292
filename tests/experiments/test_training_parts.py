"""The parts of training: rates, optimizers, averages, dropout, and the sampled denominator."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, T5Config, T5ForConditionalGeneration

from experiments.training.average import move_average
from experiments.training.dropout import drop_channels
from experiments.training.optimizer import Optimizers
from experiments.training.output_tokens import SHARE, OutputTokens, mean_nats
from experiments.training.recipe import Recipe

VOCABULARY = 40


def llama(width=16, layers=2, feed_forward=24):
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=width, intermediate_size=feed_forward, num_hidden_layers=layers,
        num_attention_heads=width // 8, tie_word_embeddings=True, rms_norm_eps=1e-12,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def t5(layers):
    config = T5Config(
        vocab_size=VOCABULARY, d_model=16, d_kv=8, d_ff=24, num_layers=layers, num_decoder_layers=layers, num_heads=2,
        feed_forward_proj="gated-gelu", decoder_start_token_id=0,
    )  # fmt: skip
    return T5ForConditionalGeneration(config).eval()


def test_the_rate_rises_stays_and_falls():
    recipe = Recipe(rate=1.0, steady=6, decay=4, batch_tokens=1, warmup=2, window=10)
    assert [recipe.rate_at(step) for step in range(10)] == [0.5, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25]
    assert [recipe.window_at(step) for step in (0, 1, 5, 7, 9)] == [1, 2, 6, 7.5, 2.5]
    assert replace(recipe, decay=0).rate_at(5) == 1.0


def test_embeddings_have_a_rate_of_their_own():
    model = llama()
    optimizers = Optimizers(model, 0.1, embedding_rate=4.0, relative=False)
    held = [weight for group in optimizers.groups for weight in group["params"]]
    assert sum(weight.numel() for weight in held) == sum(weight.numel() for weight in model.parameters())
    assert sum(len(part.param_groups) for part in optimizers.parts[:1]) == 2 * 7  # Muon has the matrices of the layers
    give_gradients(model)
    optimizers.step(1e-3)
    for group in optimizers.groups:
        words = group["params"][0] is model.get_input_embeddings().weight
        assert group["lr"] == pytest.approx(4e-3 if words else 1e-3)
        vector = group["params"][0].dim() == 1
        assert group["weight_decay"] == pytest.approx(0.0 if vector else 0.025 if words else 0.1)
    assert all(weight.grad is None for weight in model.parameters())


def test_relative_rates_follow_the_size_of_each_weight():
    model = t5(1)
    optimizers = Optimizers(model, 0.1, embedding_rate=1.0, relative=True)
    sizes = {id(w): max(1e-3, w.square().mean().sqrt().item()) for w in model.parameters()}
    give_gradients(model)
    optimizers.step(1e-2)
    for group in optimizers.groups:
        assert group["lr"] == pytest.approx(1e-2 * sizes[id(group["params"][0])])
        assert group["weight_decay"] == 0.0


def give_gradients(model):
    for weight in model.parameters():
        weight.grad = torch.randn(weight.shape)


def test_the_average_moves_by_its_share():
    average, model = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)
    before = average.weight.detach().clone()
    move_average(average, model, 4.0)
    assert torch.allclose(average.weight, 0.75 * before + 0.25 * model.weight)
    move_average(average, model, 1.0)
    assert torch.equal(average.weight, model.weight)


def test_dropout_takes_channels_from_a_text_at_all_its_positions():
    model = torch.nn.ModuleDict({"out": torch.nn.Identity(), "other": torch.nn.Identity()})
    drop_channels(model, ("out",), 0.25)
    torch.manual_seed(0)
    dropped = model["out"](torch.ones(200, 3, 16))
    assert torch.equal(dropped, dropped[:, :1].expand(-1, 3, -1))
    assert set(dropped.unique().tolist()) == {0.0, torch.tensor(1 / 0.75).item()}
    assert (dropped == 0).double().mean().item() == pytest.approx(0.25, abs=0.03)
    assert torch.equal(model["other"](torch.ones(1, 1, 1)), torch.ones(1, 1, 1))
    assert torch.equal(model.eval()["out"](torch.ones(2, 3, 4)), torch.ones(2, 3, 4))


def test_the_sampled_denominator_is_right_on_average():
    torch.manual_seed(0)
    vocabulary, width = 200, 8
    words, states, target = torch.randn(vocabulary, width), torch.randn(5, width), torch.tensor([3, 7, 8, 3, 1])
    output = OutputTokens([torch.arange(20)], vocabulary)
    assert torch.equal(output.others, torch.arange(20, vocabulary))
    drawn = math.ceil(180 / SHARE)
    denominators = []
    for seed in range(2000):
        inputs = output.draw(target, torch.Generator().manual_seed(seed))
        assert len(inputs["tokens"]) == 20 + drawn
        assert torch.equal(inputs["tokens"][inputs["target"]], target)
        denominators.append(((states @ words[inputs["tokens"]].T) + inputs["log_count"]).exp().sum(dim=1))
    exact = (states @ words.T).exp().sum(dim=1)
    assert torch.stack(denominators).mean(dim=0) == pytest.approx(exact, rel=0.05)


def test_without_other_tokens_it_is_cross_entropy():
    torch.manual_seed(0)
    words, bias, states, target = torch.randn(9, 4), torch.randn(9), torch.randn(3, 4), torch.tensor([1, 8, 0])
    inputs = OutputTokens([torch.arange(9)], 9).draw(target, torch.Generator())
    exact = torch.nn.functional.cross_entropy(states @ words.T + bias, target)
    assert mean_nats(states, words, inputs, bias).item() == pytest.approx(exact.item())


def test_a_target_that_is_not_written_is_refused():
    with pytest.raises(AssertionError, match="such as the end"):
        OutputTokens([torch.arange(5)], 9).draw(torch.tensor([1, 7]), torch.Generator())
