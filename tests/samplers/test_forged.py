"""Records with a valid checksum that no run wrote: told by name where they cannot be, and never a crash."""

import json

import pytest
import torch

from samplers.storage.tensor_file import load_record, save_record
from tests.samplers.damaging import KINDS, copied, outcome

pytestmark = pytest.mark.usefixtures("no_sync")


def forge(folder, name, *, tensors=None, facts=None):
    """Replace, or with ``None`` remove, tensors and facts of a record."""
    record = load_record(folder / name)
    changed = [{**had, **(new or {})} for had, new in ((record.tensors, tensors), (record.facts, facts))]
    save_record(
        folder / name, *({name: value for name, value in each.items() if value is not None} for each in changed)
    )


def float64(*shape, value=0.0):
    return torch.full(shape, value, dtype=torch.float64)


RNG_BYTES = len(torch.Generator().get_state())
IMPOSSIBLE = {
    **{f"x {form.dtype} {list(form.shape)}": {"x": form} for form in (
        torch.zeros(2, 4), torch.zeros(3, 4).long(), torch.zeros(2, 5).long(), torch.zeros(8).long(),
        torch.zeros(0, 4).long(), torch.zeros(2, 4).int())},
    **{f"energy {list(form.shape)}": {"energy": form} for form in (float64(3), float64(2, 1), float64(), float64(0))},
    "energy float32": {"energy": torch.zeros(2)},
    "energy nan": {"energy": float64(2, value=float("nan"))},
    "energy -inf": {"energy": float64(2, value=-float("inf"))},
    "terms wide": {"terms": float64(2, 2)},
    "terms nan": {"terms": float64(2, 1, value=float("nan"))},
    **{f"no {name}": {name: None} for name in ("x", "energy", "terms", "rng", "memory/nan", "aux/turn")},
    "one more": {"aux/other": float64(2)},
    "aux as a mapping": {"aux/turn": None, "aux/turn/a": torch.zeros((), dtype=torch.int64)},
    "aux nested": {"aux/a/b/c": float64(2)},
    "aux no name": {"aux/": float64(2)},
    "aux wide": {"aux/turn": torch.zeros(2, dtype=torch.int64)},
    "aux float": {"aux/turn": float64()},
    "memory missing": {"memory/counts": None, "memory/found_at": None},
    "memory other": {"memory/other": float64(2)},
    "nan counts": {"memory/nan": torch.zeros(3, dtype=torch.int64)},
    "rng short": {"rng": torch.zeros(RNG_BYTES - 1, dtype=torch.uint8)},
    "rng long": {"rng": torch.zeros(RNG_BYTES + 8, dtype=torch.uint8)},
    "rng none": {"rng": torch.zeros(0, dtype=torch.uint8)},
    "rng float": {"rng": torch.zeros(RNG_BYTES)},
    "rng zeros": {"rng": torch.zeros(RNG_BYTES, dtype=torch.uint8)},
    "rng ones": {"rng": torch.full((RNG_BYTES,), 255, dtype=torch.uint8)},
}  # fmt: skip
IMPOSSIBLE_FACTS = {
    **{f"done {value}": {"done": value} for value in (-1, True, "5", 5.0, None, [5], {}, 10**18, 10**400, 3)},
    **{f"rows_to {value}": {"rows_to": value} for value in (-1, True, "4", None, 6, 10**18)},
    **{f"meter {value}": {"meter": value} for value in (None, [], 3, {"a": "b"}, {"a": None}, {"a": True})},
    **{f"meter of {value:.3g}": {"meter": {"seconds": value}} for value in (float("nan"), float("inf"), -1.0, 1e300)},
    "meter huge": {"meter": {"seconds": 10**400}},
    **{f"of {value}": {"of": value} for value in (None, "", 3, "0" * 64)},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_forged_commit_record_that_cannot_be_is_told_by_name(kind, folders, tmp_path):
    name = "shards/00001/commit.safetensors"
    for what, tensors in IMPOSSIBLE.items():
        if (
            what.startswith("no aux") or what.startswith("aux as") or what in ("aux wide", "aux float")
        ) and kind == "anneal":
            continue  # it has none
        folder = copied(folders, tmp_path, kind)
        forge(folder, name, tensors=tensors)
        assert name in str(outcome(kind, folder)), what
    for what, facts in IMPOSSIBLE_FACTS.items():
        folder = copied(folders, tmp_path, kind)
        forge(folder, name, facts=facts)
        found = str(outcome(kind, folder))
        assert name in found or "are done in" in found or "00001/0000000" in found, (what, found)


@pytest.mark.parametrize("kind", KINDS)
def test_a_forged_chunk_that_cannot_be_is_told_by_name(kind, folders, tmp_path):
    name = "shards/00001/00000002.safetensors"
    rows = load_record(folders[kind] / name).tensors
    energies = "history" if kind == "anneal" else "energy"
    cases = [
        {"tensors": {column: rows[column][:1] for column in rows}, "facts": {"end": 3}},  # and the rest is missing
        {"tensors": {column: torch.cat([rows[column]] * 5) for column in rows}},
        {"tensors": {column: rows[column][:0] for column in rows}},
        {"tensors": {energies: rows[energies][:, :1]}},
        {"tensors": {energies: rows[energies].float()}},
        {"tensors": {energies: rows[energies] * float("nan")}},
        {"tensors": {energies: torch.tensor(1.0, dtype=torch.float64)}},
        {"tensors": {energies: None}},
        {"tensors": {"other": rows[energies]}},
        *({"facts": {"end": end}} for end in (None, -1, 0, 2, 10**18, "4", True)),
        *({"facts": {"start": start}} for start in (None, 0, 3, "2")),
        {"facts": {"of": "other"}},
    ]
    if kind != "anneal":
        cases.append({"tensors": {"energy": rows["energy"][:1]}})
    for case in cases:
        folder = copied(folders, tmp_path, kind)
        forge(folder, name, **case)
        found = str(outcome(kind, folder))
        assert name in found or "00000003.safetensors' is missing" in found, (case, found)


POSSIBLE = {
    "tokens out of range": {"x": torch.full((2, 4), 10**9)},
    "tokens below": {"x": torch.full((2, 4), -(10**9))},
    "replicas out of range": {"aux/x": torch.full((2, 4), 10**9)},
    "replicas' energies": {"aux/energy": float64(2, value=float("nan"))},
    "turn": {"aux/turn": torch.tensor(-5)},
    "turns": {"aux/turn": torch.tensor(2**63 - 1)},
    "counts": {"memory/counts": torch.full((3, 1), -(2**63))},
    "nan counts": {"memory/nan": torch.tensor([-5, 2**62])},
    "forbidden": {"energy": float64(2, value=float("inf"))},
    "other energies": {"energy": float64(2, value=1e300)},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_forged_record_that_could_be_never_ends_in_another_error(kind, folders, tmp_path):
    name = "shards/00001/commit.safetensors"
    had = load_record(folders[kind] / name).tensors
    for what, tensors in POSSIBLE.items():
        if all(key in had and had[key].shape == value.shape for key, value in tensors.items()):
            folder = copied(folders, tmp_path, kind)
            forge(folder, name, tensors=tensors)
            found = outcome(kind, folder)
            if "replicas out" in what:
                assert f"no step can be taken from what '{folder / name}' holds (IndexError" in str(found)


def test_deep_and_wide_headers_are_damage(folders, tmp_path):
    name = "shards/00001/commit.safetensors"
    for header in (
        b"[" * 10**5,
        b'{"a":' * 10**5,
        json.dumps({"__metadata__": {"mcmc-text": "[" * 10**5}}).encode(),
        json.dumps({"__metadata__": {"mcmc-text": json.dumps({"facts": "[" * 10**5, "sha256": ""})}}).encode(),
        json.dumps({"__metadata__": {"mcmc-text": json.dumps({"facts": "{}", "sha256": 5})}}).encode(),
        json.dumps({"__metadata__": {"mcmc-text": json.dumps({"facts": 3})}}).encode(),
        json.dumps({"__metadata__": {"mcmc-text": "[1]"}}).encode(),
        json.dumps({"__metadata__": {"mcmc-text": '"\\ud800"'}}).encode(),
        json.dumps({"__metadata__": {}}).encode(),
        json.dumps({"a": {"dtype": "F64", "shape": [2**40], "data_offsets": [0, 2**43]}}).encode(),
        json.dumps({"a": {"dtype": "F64", "shape": [2**62, 2**62], "data_offsets": [0, 0]}}).encode(),
        json.dumps({"a": {"dtype": "F4", "shape": [0], "data_offsets": [0, 0]}}).encode(),
        json.dumps({"a": {"dtype": "F128", "shape": [0], "data_offsets": [0, 0]}}).encode(),
    ):
        for length in (len(header), 2**63, 0):
            folder = copied(folders, tmp_path)
            (folder / name).write_bytes(length.to_bytes(8, "little") + header)
            assert name in str(outcome("cycle", folder)), header[:50]
