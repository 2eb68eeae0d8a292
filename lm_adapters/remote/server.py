"""What is asked of a server that speaks the completions protocol of OpenAI, as vLLM does, and what it may answer."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from samplers import InvalidInput, McmcTextError

if TYPE_CHECKING:
    import urllib3

__all__ = ["KEY", "PromptLogProbs", "Server", "ServerError", "is_remote", "remote_name"]

KEY = "MCMC_TEXT_API_KEY"  # environment variable with the server's key, which is written nowhere
LARGEST = 2**26  # bytes of an answer that are read
CONNECT, READ = 5.0, 300.0  # seconds
RETRIES, BACKOFF = 5, 0.5  # waits of 0, 1, 2, 4 and 8 seconds, or what the server asks for
PASSING = (429, 500, 502, 503, 504)  # statuses after which the same request may succeed
SHOWN = 200  # characters of what a server says


class ServerError(McmcTextError):
    """A server does not answer, or answers with what cannot be used; the message is one line."""


def is_remote(name: object) -> bool:
    """Whether this names a model behind a server."""
    return isinstance(name, str) and name.startswith(("http://", "https://"))


def remote_name(name: str) -> tuple[str, str]:
    """``http://HOST:PORT/v1#MODEL`` as address and model. Raises ``InvalidInput`` for one that cannot be.

    A key in it would be written to the run's folder.
    """
    try:
        parts = urlsplit(name)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise InvalidInput(f"{name!r} is no address of a server; give http://HOST:PORT/v1#MODEL")
    if parts.username or parts.password or parts.query:
        raise InvalidInput(f"the address of a server holds no key and no question mark; put a key into {KEY}")
    return parts._replace(fragment="").geturl().rstrip("/"), parts.fragment


@dataclass(frozen=True)
class Server:
    """``url`` ends before ``/completions``. Requests are repeated where the fault may pass; redirects are refused."""

    url: str
    retries: int = RETRIES

    @cached_property
    def _pool(self) -> urllib3.PoolManager:
        import urllib3

        return urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=CONNECT, read=READ),
            retries=urllib3.Retry(
                self.retries,
                backoff_factor=BACKOFF,
                status_forcelist=PASSING,
                allowed_methods=None,
                redirect=0,
                raise_on_redirect=False,
                raise_on_status=False,
            ),
        )

    def ask(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """The JSON object that the server answers. Raises ``ServerError``."""
        import urllib3

        key = os.environ.get(KEY)
        headers = {"Accept": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
        request: dict[str, Any] = {"headers": headers, "redirect": False, "preload_content": False}
        try:
            if body is None:
                answer = self._pool.request("GET", self.url + path, **request)
            else:
                answer = self._pool.request("POST", self.url + path, json=body, **request)
            with answer:
                read = answer.read(LARGEST + 1, decode_content=True)
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            raise self._error(f"does not answer ({_reason(error)}); start it, or correct the address") from error
        if len(read) > LARGEST:
            raise self._error(f"answers with more than {LARGEST >> 20} MiB")
        if answer.status != 200:
            said = json.dumps(read.decode("utf-8", "replace")[:SHOWN])
            raise self._error(f"answers {path} with status {answer.status}: {said}")
        try:
            found = json.loads(read)
        except (ValueError, RecursionError) as error:
            raise self._error(f"answers {path} with what is no JSON") from error
        if not isinstance(found, dict):
            raise self._error(f"answers {path} with JSON that is no object")
        return found

    def _error(self, what: str) -> ServerError:
        return ServerError(f"the server {self.url} {what}")

    def models(self) -> dict[str, dict[str, Any]]:
        """What it says of each model that it serves, by name. Raises ``ServerError``."""
        listed = self.ask("/models").get("data")
        facts = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
        return {each["id"]: each for each in facts if isinstance(each.get("id"), str)}

    def prompt_log_probs(self, model: str, prompts: list[str] | list[list[int]]) -> list[PromptLogProbs]:
        """Of each prompt, in order. Raises ``ServerError`` where the answer does not have them."""
        asked = {"model": model, "prompt": prompts, "max_tokens": 0, "temperature": 0, "echo": True}
        choices = self.ask("/completions", {**asked, "logprobs": 1, "prompt_logprobs": 1}).get("choices")
        if not isinstance(choices, list) or len(choices) != len(prompts):
            raise self._error(f"does not answer {len(prompts)} texts with as many choices")
        by_index = {each.get("index", at): each for at, each in enumerate(choices) if isinstance(each, dict)}
        if set(by_index) != set(range(len(prompts))):
            raise self._error("answers with choices that are not numbered")
        return [self._read(by_index[index]) for index in range(len(prompts))]

    def _read(self, choice: dict[str, Any]) -> PromptLogProbs:
        entries = choice.get("prompt_logprobs")
        if isinstance(entries, list):
            return PromptLogProbs([_by_token(entry) for entry in entries])
        echoed = choice.get("logprobs")
        values = echoed.get("token_logprobs") if isinstance(echoed, dict) else None
        if not isinstance(values, list):
            raise self._error(
                "returns no log-probabilities of the prompt; serve with vLLM, or another that has prompt_logprobs"
            )
        tokens = echoed.get("tokens") if isinstance(echoed, dict) else None
        texts = tokens if isinstance(tokens, list) and len(tokens) == len(values) else [None] * len(values)
        return PromptLogProbs([(value, text) for value, text in zip(values, texts, strict=True)])


@dataclass(frozen=True)
class PromptLogProbs:
    """For each token of a prompt what the server says: numbers by token, or a number and the text of the token."""

    entries: list[Any]

    def __len__(self) -> int:
        return len(self.entries)

    def of(self, place: int, token: int, text: str) -> float | None:
        """Nats of ``token`` at a place, of which ``text`` is what it reads as; ``None`` if it has another there."""
        entry = self.entries[place]
        value = entry.get(str(token)) if isinstance(entry, dict) else None
        if isinstance(entry, tuple):
            value = entry[0] if entry[1] is None or _alike(str(entry[1]), text) else None
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _by_token(entry: Any) -> dict[str, Any] | None:
    """``{token: {"logprob": nats, ...}}`` as numbers; of the first token there are none."""
    if not isinstance(entry, dict):
        return None
    return {token: said.get("logprob") for token, said in entry.items() if isinstance(said, dict)}


def _alike(said: str, text: str) -> bool:
    """Tokens as servers write them: with the marks of spaces that vocabularies have, or part of a character."""
    return "\ufffd" in said + text or said.strip(" Ġ▁#") == text.strip(" Ġ▁#")


def _reason(error: Exception) -> str:
    """The innermost words of an error of urllib3, without the objects that it prints."""
    inner = getattr(error, "reason", None) or error
    return str(inner).rpartition(": ")[2][:SHOWN] or type(inner).__name__
