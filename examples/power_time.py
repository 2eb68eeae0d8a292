"""Populations for a power of a model's law beside plain decoding: CPU seconds, by a model of random weights.

    python examples/power_time.py 64 128
    python examples/power_time.py 64 512

The model has the size of causal-en and room for 640 tokens. All texts have the most tokens; what is drawn does not
matter for the time.
"""

import sys
import time

import torch
from transformers import LlamaForCausalLM

from lm_adapters import CausalLM, Continuation, StoppedEnergy, SuffixSMC
from samplers import generator

PROMPT, ROOM, ALPHA = "We went home because", 640, 4.0


def random_model():
    given = CausalLM.from_pretrained("causal-en")
    config = given.model.config
    config.max_position_embeddings = ROOM
    torch.manual_seed(0)
    return CausalLM(LlamaForCausalLM(config).eval(), given.space.tokenizer)


def seconds(action):
    began = time.process_time()
    with torch.inference_mode():
        action()
    return time.process_time() - began


def timings(lm, chains, tokens):
    """Of ``chains`` texts of ``tokens``: decoded, as a population, and as one step of chains of eight particles."""
    reader = lm.condition_on(PROMPT)
    prompt = torch.tensor([[lm.start_id, *lm.space.encode([PROMPT])[0].tolist()]]).expand(chains, -1)
    growing = Continuation(reader, power=ALPHA, min_length=tokens, max_length=tokens, block=8)
    empty = torch.full((1, tokens), lm.space.pad_id)
    kernel = SuffixSMC(growing, 8)
    yield (
        "generate",
        lambda: lm.model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            do_sample=True,
            min_new_tokens=tokens,
            max_new_tokens=tokens,
            pad_token_id=lm.space.pad_id,
        ),
    )
    yield "population", lambda: growing.grow(empty, torch.zeros(1, dtype=torch.int64), chains, generator(0))
    energy = ALPHA * StoppedEnergy(reader, tokens)
    with torch.inference_mode():
        x = growing.grow(empty, torch.zeros(1, dtype=torch.int64), chains // 8, generator(1)).x
        state = kernel.init(x, energy)
    yield "step of SuffixSMC", lambda: kernel.step(state, energy, generator(2))


if __name__ == "__main__":
    chains, tokens = map(int, sys.argv[1:])
    lm = random_model()
    for name, action in timings(lm, chains, tokens):
        print(f"{name:20} {seconds(action):7.1f} s")
