"""Train the embedded models: ``mcmc-text train-embedded --corpus DIR --out DIR``.

The run is a function of the seed, the corpus and the number of threads; it resumes from its last checkpoint.
"""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path

import click
import torch
from tqdm import tqdm
from transformers import ModernBertConfig, ModernBertForMaskedLM, PreTrainedTokenizerFast

from experiments.training_data import batches, by_length, english_split, train_tokenizer

MAX_LENGTH = 64  # tokens, special tokens included; under 0.1 % of the corpus is longer


def masked_model(tokenizer: PreTrainedTokenizerFast) -> ModernBertForMaskedLM:
    """A small ModernBERT: pre-norm, rotary positions, gated feed-forward, full attention in every layer."""
    config = ModernBertConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=640,
        global_attn_every_n_layers=1,
        max_position_embeddings=128,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        cls_token_id=tokenizer.cls_token_id,
        sep_token_id=tokenizer.sep_token_id,
    )
    return ModernBertForMaskedLM(config)


def draw_mask(rows: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """``bool [rows, length]``: each row hides a share ``0.1 + 0.9 u^2`` of its text, at least one token of it.

    Low shares teach the conditionals that a chain uses, high ones teach to start from nothing but masks.
    """
    count, length = rows.shape
    text = length - 2
    share = 0.1 + 0.9 * torch.rand(count, 1, generator=rng).square()
    hidden = (share * text + torch.rand(count, 1, generator=rng)).floor().clamp(1, text)
    rank = torch.rand(count, text, generator=rng).argsort(dim=1).argsort(dim=1)
    return torch.nn.functional.pad(rank < hidden, (1, 1))


def masked_loss(
    model: ModernBertForMaskedLM, rows: torch.Tensor, mask: torch.Tensor, mask_token_id: int
) -> torch.Tensor:
    """Mean ``-log p`` (nats) of the hidden tokens; the vocabulary head runs on them only."""
    hidden = model.model(input_ids=rows.masked_fill(mask, mask_token_id)).last_hidden_state[mask]
    return torch.nn.functional.cross_entropy(model.decoder(model.head(hidden)), rows[mask])


@torch.inference_mode()
def pseudo_log_likelihood(
    model: ModernBertForMaskedLM, groups: dict[int, torch.Tensor], mask_token_id: int
) -> tuple[float, int]:
    """``(sum of -log p(token | all others) in nats, tokens)`` over every text token."""
    total, count = 0.0, 0
    for length, rows in groups.items():
        sites = torch.eye(length, dtype=torch.bool)[1:-1]
        for part in rows.split(max(1, 4096 // length**2)):
            copies = part.repeat_interleave(len(sites), dim=0)
            mask = sites.repeat(len(part), 1)
            total += masked_loss(model, copies, mask, mask_token_id).item() * len(copies)
            count += len(copies)
    return total, count


def save_checkpoint(path: Path, payload: dict) -> None:
    partial = path.with_suffix(".part")
    torch.save(payload, partial)
    os.replace(partial, path)


@click.command()
@click.option("--corpus", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True)
@click.option("--steps", type=click.IntRange(min=1), default=8000, show_default=True)
@click.option("--batch-tokens", type=click.IntRange(min=64), default=2048, show_default=True)
@click.option("--learning-rate", type=float, default=1.5e-3, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--threads", type=click.IntRange(min=1), default=2, show_default=True)
@click.option("--evaluate-every", type=click.IntRange(min=1), default=500, show_default=True)
def main(corpus, out, steps, batch_tokens, learning_rate, seed, threads, evaluate_every):
    """Train the embedded masked LM; run the same command again to resume."""
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    out.mkdir(parents=True, exist_ok=True)
    if not (out / "tokenizer.json").exists():
        train_tokenizer(corpus).save_pretrained(out)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(out)
    training, held_out = english_split(corpus)
    groups = by_length(tokenizer, training, MAX_LENGTH)
    check = by_length(tokenizer, held_out[:1000], MAX_LENGTH)
    characters = sum(len(t) for t in tokenizer.batch_decode([r for g in check.values() for r in g], skip_special_tokens=True))
    model = masked_model(tokenizer)
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    plain = [p for p in model.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}],
        lr=learning_rate, betas=(0.9, 0.98), fused=True,
    )
    warmup = min(300, steps // 10 + 1)
    rate = lambda step: min((step + 1) / warmup, (steps - step) / (steps - warmup + 1))
    first, seconds, checkpoint = 0, 0.0, out / "checkpoint.pt"
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(saved["model"]); optimizer.load_state_dict(saved["optimizer"])
        first, seconds = saved["step"], saved["seconds"]
    mask_id, started, running = tokenizer.mask_token_id, time.monotonic(), math.nan
    print(f"{sum(p.numel() for p in model.parameters())/1e6:.2f} M parameters, {sum(g.numel() for g in groups.values())/1e6:.2f} M tokens an epoch", flush=True)
    seen = 0
    for step, rows in batches(groups, batch_tokens, seed, first):
        if step == steps:
            break
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * rate(step)
        rng = torch.Generator().manual_seed(seed * 1_000_003 + step)
        loss = masked_loss(model, rows, draw_mask(rows, rng), mask_id)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        seen += rows.numel()
        running = loss.item() if math.isnan(running) else 0.99 * running + 0.01 * loss.item()
        if step % 100 == 99:
            print(step + 1, f"loss {running:.3f}", f"{seen/(time.monotonic()-started):.0f} tokens/s", flush=True)
        if (step + 1) % evaluate_every == 0 or step + 1 == steps:
            model.eval()
            nats, tokens = pseudo_log_likelihood(model, check, mask_id)
            model.train()
            elapsed = seconds + time.monotonic() - started
            point = {"step": step + 1, "loss": running, "nats_per_token": nats / tokens, "nats_per_character": nats / characters, "seconds": round(elapsed)}
            with (out / "learning_curve.jsonl").open("a") as curve:
                curve.write(json.dumps(point) + "\n")
            print(point, flush=True)
            save_checkpoint(checkpoint, {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1, "seconds": elapsed})


if __name__ == "__main__":
    main()
