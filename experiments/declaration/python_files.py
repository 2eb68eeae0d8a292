"""Python code that the user names, by file or by module: imported as ``python FILE`` would import it."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

__all__ = ["USER_FILE", "load_file", "load_module", "own_line"]

USER_FILE = "user_file"  # the module of a file that is in no package, so that a run knows it wherever the file lies

_brought: dict[str, ModuleType] = {}  # modules that came with the files loaded so far


def load_file(path: Path, named_by: str) -> ModuleType:
    """Run the file as a module, each time anew. It may import what lies beside it.

    A file in a package, a folder with an ``__init__.py``, is the package's module and may use relative imports. Raises
    ``InvalidInput``, after ``named_by``, where it cannot be run to its end.
    """
    from samplers import InvalidInput

    if not path.is_file():
        raise InvalidInput(f"{named_by}: there is no file {str(path)!r}")
    try:
        path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{named_by}: {str(path)!r} cannot be read ({error.strerror})") from error
    whole = path.resolve()
    root, name = _place(whole)
    with _imports_from([whole.parent, root]):
        try:
            return importlib.import_module(name) if name else _run(whole)
        except Exception as error:
            raise InvalidInput(f"{named_by}: {str(path)!r} raised {own_line(error, path)}") from error


def load_module(name: str, named_by: str) -> ModuleType:
    """The module of that dotted name, from the current folder or an installed package. Raises as ``load_file`` does."""
    from samplers import InvalidInput

    with _imports_from([Path.cwd()]):
        try:
            return importlib.import_module(name)
        except Exception as error:
            files = [each.filename for each in traceback.extract_tb(error.__traceback__)]
            own = [file for file in files if "importlib" not in file and file != __file__]
            problem = own_line(error, own[-1] if own else "")
            way = "; write FILE.py:NAME or MODULE:NAME" if isinstance(error, ModuleNotFoundError) else ""
            raise InvalidInput(f"{named_by}: the module {name!r} cannot be imported ({problem}){way}") from error


def own_line(error: Exception, path: str | Path) -> str:
    """``KeyError: 'x' [my.py:3: y = z['x']]``: the error and the deepest line of the file on the way to it."""
    message = f"{type(error).__name__}: {error}"
    if isinstance(error, SyntaxError):
        return message  # which names file and line
    whole = Path(path).resolve()
    frames = [each for each in traceback.extract_tb(error.__traceback__) if Path(each.filename).resolve() == whole]
    return f"{message} [{path}:{frames[-1].lineno}: {frames[-1].line}]" if frames else message


@contextmanager
def _imports_from(folders: list[Path]) -> Iterator[None]:
    """Imports in the block look into ``folders`` first; afterwards last, so that nothing of ours is hidden by a file.

    What earlier files brought along is imported anew. Of the user's modules that are loaded from elsewhere, those that
    a file in ``folders`` has the name of are out of sight.
    """
    for name, module in _brought.items():
        if sys.modules.get(name) is module:
            del sys.modules[name]
    _brought.clear()
    first = list(dict.fromkeys(map(str, folders)))
    hidden = {name: sys.modules.pop(name) for name in _same_names(first)}
    before, written = set(sys.modules), sys.dont_write_bytecode
    sys.path[:0], sys.dont_write_bytecode = first, True  # compiled files of the same second and size go stale unseen
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.dont_write_bytecode = written
        for folder in first:
            sys.path.remove(folder)
        sys.path += [folder for folder in first if folder not in sys.path]
        _brought.update((name, sys.modules[name]) for name in set(sys.modules) - before if _lies_in(name, first))
        sys.modules.update(hidden)


def _same_names(folders: list[str]) -> list[str]:
    """Loaded modules of the user's own that lie elsewhere, and of whose name there is a file or a folder here."""
    from samplers.storage import library_of

    here = {each.stem if each.suffix == ".py" else each.name for folder in folders for each in Path(folder).iterdir()}
    tops = {name.partition(".")[0] for name in sys.modules} & here - {"__main__"}
    away = {top for top in tops if library_of(top) is None and not _lies_in(top, folders)}
    return [name for name in sys.modules if name.partition(".")[0] in away]


def _lies_in(name: str, folders: list[str]) -> bool:
    module = sys.modules.get(name)
    places = [getattr(module, "__file__", None), *getattr(module, "__path__", [])]
    return any(place and Path(place).is_relative_to(folder) for place in places for folder in folders)


def _place(path: Path) -> tuple[Path, str | None]:
    """The folder that imports start from, and the file's name in its package, ``None`` where it is in none."""
    from samplers.storage import library_of

    folder, names = path.parent, [path.stem]
    while (folder / "__init__.py").is_file() and folder.name.isidentifier():
        folder, names = folder.parent, [folder.name, *names]
    if len(names) == 1 or not path.stem.isidentifier() or library_of(names[0]) is not None:
        return path.parent, None
    return folder, ".".join(names)


def _run(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(USER_FILE, path)
    assert spec is not None, "a path that ends in .py has a loader"
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
