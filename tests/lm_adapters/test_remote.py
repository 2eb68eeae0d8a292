"""A scorer behind a server gives the energies of the same model here, and one that cannot is refused in one line."""

from __future__ import annotations

import json
import math
import socket

import pytest
import torch

from lm_adapters import CausalLM, RemoteEnergy, RemoteLM, SequenceEnergy, load_remote
from lm_adapters.remote import remote_lm, server
from samplers import InvalidInput, McmcTextError
from tests.lm_adapters.tiny_causal import build
from tests.lm_adapters.tiny_server import served

TEXTS = ["the sea", "sun a b", "night", "the night at sea"]


@pytest.fixture(scope="module")
def lm() -> CausalLM:
    return build("gpt2")


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(server, "BACKOFF", 0.0)
    monkeypatch.setattr(remote_lm, "PROBES", (TEXTS[0], TEXTS[3]))


def remote(found, lm) -> RemoteLM:
    return RemoteLM(found.url, "tiny", lm.space.tokenizer)


def states(lm) -> torch.Tensor:
    ids = lm.space.proposable.nonzero().squeeze(1)
    x = torch.full((70, 6), lm.space.pad_id)
    rng = torch.Generator().manual_seed(0)
    for row in range(70):
        length = 1 + row % 6
        x[row, :length] = ids[torch.randint(len(ids), (length,), generator=rng)]
    return x


def test_energies_are_those_of_the_model_itself(lm):
    x, local = states(lm), SequenceEnergy(lm.condition_on())
    with served(lm) as found:
        energy = RemoteEnergy(remote(found, lm))
        asked = len(found.requests)
        torch.testing.assert_close(energy(x), local(x), rtol=0, atol=1e-4)
        assert [len(body["prompt"]) for _, _, body in found.requests[asked:]] == [64, 6]
        site, values = torch.zeros(6, dtype=torch.int64), x[:6, :1].flip(0)
        torch.testing.assert_close(
            energy.candidate_values(x[6:12], site, values), local.candidate_values(x[6:12], site, values),
            rtol=0, atol=1e-4,
        )  # fmt: skip
        with pytest.raises(InvalidInput, match=r"a text has \d+ tokens, the model takes \d+; bound"):
            energy(x[:1, :1].expand(1, lm.max_length).contiguous())


def test_a_server_that_only_echoes_serves_as_well(lm):
    def echo(path, answer):
        for each in answer.get("choices", []):
            rows = each.pop("prompt_logprobs")
            each["logprobs"] = {"token_logprobs": [row and min(v["logprob"] for v in row.values()) for row in rows]}
        return answer

    x = states(lm)[:8]
    with served(lm, echo) as found:
        torch.testing.assert_close(
            RemoteEnergy(remote(found, lm))(x), SequenceEnergy(lm.condition_on())(x), rtol=0, atol=1e-4
        )


def logprobs(value):
    def change(path, answer):
        for each in answer.get("choices", []):
            each["prompt_logprobs"] = value(each["prompt_logprobs"])
        return answer

    return change


def set_to(number):
    return logprobs(lambda rows: [row and {token: {"logprob": number} for token in row} for row in rows])


def without(path, answer):
    return {"choices": [{"text": ""} for _ in answer["choices"]]} if "choices" in answer else answer


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (without, "returns no log-probabilities of the prompt; serve with vLLM"),
        (logprobs(lambda rows: rows[:-1]), "has another vocabulary than 'tiny': it makes other tokens of 'the sea'"),
        (
            logprobs(lambda rows: [row and {str(int(t) + 1): v for t, v in row.items()} for row in rows]),
            "has another vocabulary than 'tiny'",
        ),
        (set_to(math.nan), "returns a value nan"),
        (set_to(2.0), "returns a value 2.0"),
        (lambda path, answer: (500, {}, {}) if "choices" in answer else answer, "with status 500"),
        (lambda path, answer: (401, {}, {"error": "\x1b[31mno"}), r"with status 401: .*\\\\u001b\[31mno"),
        (lambda path, answer: b"<html>", "with what is no JSON"),
        (lambda path, answer: b"[" * 10**5, "with what is no JSON"),
        (lambda path, answer: [], "with JSON that is no object"),
        (lambda path, answer: {"choices": []} if "choices" in answer else answer, r"does not answer \d texts with as"),
        (lambda path, answer: {"data": [{"id": "other"}]}, "does not have the model 'tiny'; it lists 'other'"),
        (lambda path, answer: b" " * (server.LARGEST + 1), "answers with more than 0 MiB"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_one_line(lm, change, told, monkeypatch):
    monkeypatch.setattr(server, "LARGEST", 2**19)
    with served(lm, change) as found, pytest.raises(InvalidInput, match=told) as caught:
        remote(found, lm)
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_an_answer_of_the_wrong_length_ends_a_run(lm):
    with served(lm) as found:
        energy = RemoteEnergy(remote(found, lm))
        found.change = logprobs(lambda rows: rows[:-1])
        with pytest.raises(McmcTextError, match="returns 2 log-probabilities for 3 tokens"):
            energy(states(lm)[:1])


def test_faults_that_pass_are_tried_again_and_redirects_refused(lm):
    with served(lm) as found:
        energy, x = RemoteEnergy(remote(found, lm)), states(lm)[:3]
        faults = iter([None, (503, {}, {}), (429, {"Retry-After": "0"}, {})])
        found.change = lambda path, answer: next(faults, answer)
        torch.testing.assert_close(energy(x), SequenceEnergy(lm.condition_on())(x), rtol=0, atol=1e-4)
        asked = len(found.requests)
        found.change = lambda path, answer: (307, {"Location": found.url + "/elsewhere"}, {})
        with pytest.raises(McmcTextError, match="with status 307"):
            energy(x)
        assert [path for path, _, _ in found.requests[asked:]] == ["/v1/completions"]


def test_a_key_goes_to_the_server_and_nowhere_else(lm, monkeypatch):
    monkeypatch.setenv(server.KEY, "s3cret")
    with served(lm) as found:
        scorer = remote(found, lm)
        assert {headers["Authorization"] for _, headers, _ in found.requests} == {"Bearer s3cret"}
        assert "s3cret" not in json.dumps(scorer.config()) + repr(scorer.server)
    with pytest.raises(InvalidInput, match="holds no key and no question mark; put a key into MCMC_TEXT_API_KEY"):
        load_remote("http://me:s3cret@127.0.0.1/v1#tiny")


def test_a_server_that_is_not_there_is_told_in_seconds():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(InvalidInput, match=rf"the server http://127.0.0.1:{port}/v1 does not answer \(.*refused"):
        load_remote(f"http://127.0.0.1:{port}/v1#tiny")
    with pytest.raises(InvalidInput, match="is no address of a server"):
        load_remote("http://[::1/v1#tiny")
