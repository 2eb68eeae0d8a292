"""The standard streams of a command as shells leave them: closed, full, without a reader, or in a narrow encoding."""

from __future__ import annotations

import codecs
import errno
import os
import select
import sys
from collections.abc import Iterator
from contextlib import suppress

__all__ = ["CLOSED_PIPE", "drop_unwritten", "is_closed_pipe", "prepare_streams", "refusal"]

CLOSED_PIPE = 141  # the exit code of a process that SIGPIPE ended: 128 and its number
ESCAPES = "mcmc-text.escapes"
REMEDIES = {
    errno.ENOSPC: "make room and try again; what was written before is kept",
    errno.EDQUOT: "make room and try again; what was written before is kept",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "raise the limit of open files (ulimit -n)",
    errno.EAGAIN: "raise the limit of processes (ulimit -u), or take fewer workers",
    errno.ENOMEM: "raise the limit of memory (ulimit -v), or take fewer chains or smaller models",
}
OF_LIBRARIES = {  # words of errors that are no OSError
    "can't start new thread": errno.EAGAIN,
    "Too many open files": errno.EMFILE,
    "failed to map segment": errno.ENOMEM,
    "Cannot allocate memory": errno.ENOMEM,
    "No space left on device": errno.ENOSPC,
}


def prepare_streams() -> None:
    """Open again what the caller has closed, and make every text printable in any encoding.

    Without it the next file to be opened would become stdout. What stands in for a closed stream refuses reading and
    writing, so that a result that nobody can read is an error. In an encoding that lacks a character, its escape is
    written as in JSON.
    """
    for number, flags in enumerate((os.O_WRONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, flags)  # gets the lowest number that is free
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
    codecs.register_error(ESCAPES, _escaped)
    for stream in (sys.stdout, sys.stderr):
        if (reconfigure := getattr(stream, "reconfigure", None)) and not stream.encoding.lower().startswith("utf"):
            reconfigure(errors=ESCAPES)


def is_closed_pipe(error: BaseException) -> bool:
    """Whether the error goes back to a write to stdout or stderr, whose reader (``| head``) has ended.

    Of such an error click makes a ``SystemExit`` that does not say why.
    """
    why = isinstance(error, SystemExit) or any(isinstance(each, BrokenPipeError) for each in _causes(error))
    return why and any(map(_has_no_reader, (1, 2)))


def drop_unwritten() -> None:
    """What a stream could not write is dropped, or Python would try again at its end and complain."""
    for stream in (sys.__stdout__, sys.__stderr__, sys.stdout, sys.stderr):
        if stream is None:
            continue
        try:
            stream.flush()
        except OSError:
            with suppress(OSError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)
        except ValueError:  # it was closed
            continue


def refusal(error: BaseException) -> str | None:
    """What the operating system refused, in one line with a remedy; ``None`` for an error of another kind."""
    if isinstance(error, OSError):
        number, problem = error.errno, error.strerror or str(error)
        problem += f": {str(error.filename)!r}" if error.filename else ""
    elif isinstance(error, RuntimeError | ImportError):
        problem = str(error).partition("\n")[0]
        number = next((number for words, number in OF_LIBRARIES.items() if words in problem), None)
        if number is None or "can't allocate memory" in problem:  # torch's own, which has better advice
            return None
    else:
        return None
    remedy = REMEDIES.get(number or 0)
    return f"the system refused ({problem})" + (f"; {remedy}" if remedy else "")


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2)), error.end


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _has_no_reader(number: int) -> bool:
    if not hasattr(select, "poll"):
        return True
    poll = select.poll()
    poll.register(number, select.POLLOUT)
    return any(event & select.POLLERR for _, event in poll.poll(0))
