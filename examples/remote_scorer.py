"""A causal model behind a server of this machine, as vLLM would serve it, and what that costs beside the model itself.

``python remote_scorer.py causal-en 8000`` serves it until Ctrl-C. ``python remote_scorer.py`` compares the two, for as
many steps as a number says.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from lm_adapters import CausalLM, EditProposal, MaskedLM, RemoteEnergy, SequenceEnergy, load_remote
from samplers import Energy, MetropolisHastings, Trace, sample

CHAINS, LENGTH, ROUNDS = 10, 12, 3


def serve(name: str, port: int) -> None:
    lm = CausalLM.from_pretrained(name)

    class Handler(BaseHTTPRequestHandler):
        protocol_version, disable_nagle_algorithm = "HTTP/1.1", True

        def log_message(self, *_: object) -> None: ...

        def do_GET(self) -> None:
            self.answer({"data": [{"id": name, "max_model_len": lm.max_length + 1}]})

        def do_POST(self) -> None:
            prompts = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["prompt"]
            given = enumerate(prompt_log_probs(lm, prompts))
            self.answer({"choices": [{"index": index, "prompt_logprobs": said} for index, said in given]})

        def answer(self, found: dict[str, Any]) -> None:
            body = json.dumps(found).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    print(f"http://127.0.0.1:{server.server_port}/v1#{name}", flush=True)
    server.serve_forever()


def prompt_log_probs(lm: CausalLM, prompts: list[Any]) -> list[list[Any]]:
    """Of each token of each prompt, texts or tokens, given those before it: ``{token: {"logprob": nats}}``."""
    cut = [lm.space.tokenizer(p, add_special_tokens=False).input_ids if isinstance(p, str) else p for p in prompts]
    x = pad_sequence([torch.tensor(ids) for ids in cut], batch_first=True)  # what is on the right changes nothing
    with torch.inference_mode():
        log_probs = lm.model(input_ids=x).logits[:, :-1].log_softmax(dim=-1)
        values = log_probs.gather(2, x[:, 1:, None]).squeeze(2).tolist()
    return [
        [None, *({str(token): {"logprob": value}} for token, value in zip(ids[1:], row, strict=False))]
        for ids, row in zip(cut, values, strict=True)
    ]


def compare(name: str, steps: int) -> None:
    """The same chains by the model itself and by the server, in turn; the best of each, as other work only slows."""
    server = subprocess.Popen([sys.executable, __file__, name, "0"], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    address = server.stdout.readline().strip()
    masked = MaskedLM.from_pretrained("masked-en")
    kernel = MetropolisHastings(EditProposal(masked, max_length=LENGTH))
    energies: dict[str, Energy] = {"local": SequenceEnergy(CausalLM.from_pretrained(name).condition_on())}
    energies["remote"] = RemoteEnergy(load_remote(address))
    x0 = masked.space.encode(["I like to listen to music at night."] * CHAINS, LENGTH)
    best, traces = dict.fromkeys(energies, 0.0), dict[str, Trace]()
    for _ in range(ROUNDS):
        for where, energy in energies.items():
            began = time.perf_counter()
            traces[where] = sample(kernel, energy, x0, steps=steps, seed=0)
            best[where] = max(best[where], CHAINS * steps / (time.perf_counter() - began))
    draws = traces["local"].draws.flatten(0, 1)[:: max(1, steps // 10)]
    apart = (energies["local"](draws) - energies["remote"](draws)).abs().max()
    for where, speed in best.items():
        print(f"{where:6} {speed:6.0f} chain-steps/s")
    print(f"energies at most {apart:.1e} nats apart, {'the same' if _same(traces) else 'other'} draws")
    server.kill()


def _same(traces: dict[str, Trace]) -> bool:
    return torch.equal(traces["local"].draws, traces["remote"].draws)


if __name__ == "__main__":
    match sys.argv[1:]:
        case [name, port]:
            serve(name, int(port))
        case [steps]:
            compare("causal-en", int(steps))
        case _:
            compare("causal-en", 100)
