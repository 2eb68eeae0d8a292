"""A real server on loopback that answers as vLLM does, from a tiny model; it can be told to misbehave."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import torch

from lm_adapters import CausalLM


class TinyServer:
    """``address`` names its only model. ``change(path, answer)`` may return another answer, or a status, or ``None``.

    ``requests`` are those so far: path, headers, body.
    """

    def __init__(self, lm: CausalLM, name: str = "tiny") -> None:
        self.lm, self.name, self.change = lm, name, lambda path, answer: answer
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        self.address = f"{self.url}#{name}"

    def answer(self, path: str, body: Any) -> Any:
        if path == "/v1/models":
            return {"data": [{"id": self.name, "max_model_len": self.lm.max_length + 1}]}
        ids = [
            self.lm.space.tokenizer(each, add_special_tokens=False)["input_ids"] if isinstance(each, str) else each
            for each in body["prompt"]
        ]
        return {"choices": [{"index": at, "prompt_logprobs": self._of(each)} for at, each in enumerate(ids)][::-1]}

    def _of(self, ids: list[int]) -> list[Any]:
        with torch.inference_mode():
            logits = self.lm.model(input_ids=torch.tensor([ids])).logits[0].double().log_softmax(dim=-1)
        given: list[Any] = [None]
        for at, token in enumerate(ids[1:]):
            likeliest = int(logits[at].argmax())
            given.append({str(one): {"logprob": float(logits[at, one])} for one in {likeliest, token}})
        return given

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None: ...

            def do_GET(self) -> None:
                self.respond(None)

            def do_POST(self) -> None:
                self.respond(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def respond(self, body: Any) -> None:
                server.requests.append((self.path, dict(self.headers), body))
                found = server.change(self.path, server.answer(self.path, body))
                if found is None:
                    self.close_connection = True
                    return
                status, headers, found = found if isinstance(found, tuple) else (200, {}, found)
                sent = found if isinstance(found, bytes) else json.dumps(found).encode()
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(sent))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(sent)

        return Handler


@contextmanager
def served(lm: CausalLM, change: Callable[[str, Any], Any] | None = None) -> Iterator[TinyServer]:
    server = TinyServer(lm)
    server.change = change or server.change
    thread = threading.Thread(target=server.http.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        server.http.server_close()
        thread.join()
