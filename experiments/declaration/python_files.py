"""Python files that the user names: the only code that is run from a path."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType

__all__ = ["USER_FILE", "load_file", "own_line"]

USER_FILE = "user_file"  # the module of every such file, so that a run knows its functions wherever the file lies


def load_file(path: Path, named_by: str) -> ModuleType:
    """Run the file as a module. Raises ``InvalidInput``, after ``named_by``, where it cannot be run to its end."""
    from samplers import InvalidInput

    if not path.is_file():
        raise InvalidInput(f"{named_by}: there is no file {str(path)!r}")
    try:
        path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{named_by}: {str(path)!r} cannot be read ({error.strerror})") from error
    spec = importlib.util.spec_from_file_location(USER_FILE, path)
    assert spec is not None, "a path that ends in .py has a loader"
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise InvalidInput(f"{named_by}: {str(path)!r} raised {own_line(error, path)}") from error
    return module


def own_line(error: Exception, path: str | Path) -> str:
    """``KeyError: 'x' [my.py:3: y = z['x']]``: the error and the deepest line of the file on the way to it."""
    message = f"{type(error).__name__}: {error}"
    if isinstance(error, SyntaxError):
        return message  # which names file and line
    whole = Path(path).resolve()
    frames = [each for each in traceback.extract_tb(error.__traceback__) if Path(each.filename).resolve() == whole]
    return f"{message} [{path}:{frames[-1].lineno}: {frames[-1].line}]" if frames else message
