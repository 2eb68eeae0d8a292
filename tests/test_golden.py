"""A seed means the same draws as when ``golden.json`` was recorded."""

from __future__ import annotations

import pytest

from tests.golden import machine, recorded, traces


@pytest.mark.slow
@pytest.mark.parametrize("name", traces())
def test_draws_are_those_recorded(name, tmp_path, monkeypatch):
    if recorded()["machine"] != machine():
        pytest.skip(f"golden.json holds for {recorded()['machine']}")
    monkeypatch.chdir(tmp_path)
    assert traces()[name]() == recorded()["traces"][name]


def test_every_trace_is_recorded():
    assert list(recorded()["traces"]) == list(traces())
