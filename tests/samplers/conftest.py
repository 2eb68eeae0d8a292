from __future__ import annotations

from pathlib import Path

import pytest

from tests.samplers.damaging import KINDS, interrupted


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Of runs that crashed, one of each kind, to be copied and not to be written to."""
    made = {kind: tmp_path_factory.mktemp(kind) / "run" for kind in KINDS}
    for kind, folder in made.items():
        interrupted(kind, folder)
    return made
