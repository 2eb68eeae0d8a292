"""That a model goes on from what it has kept as if it read everything anew."""

from __future__ import annotations

import torch

from lm_adapters import Autoregressive
from lm_adapters.forward.kv_cache import batchable_rows


def extends_as_a_whole(model: Autoregressive, x: torch.Tensor, exact: float = 1e-10) -> None:
    """``x``: texts of one length, three at least."""
    close = {"atol": exact, "rtol": 0}
    width = x.shape[1]
    every = torch.ones(len(x), width + 1, dtype=torch.bool)
    whole = torch.cat([*model.logits(x, every)]).reshape(len(x), width + 1, -1)
    logits, kept = model.read(x, every)
    torch.testing.assert_close(torch.cat([*logits]).reshape(whole.shape), whole, **close)
    longer = torch.nn.functional.pad(x, (0, width), value=model.eos_id)
    rows, counts = torch.tensor([2, 0, 2, 1, 1]), torch.tensor([1, 0, width - 1, 2, 2])
    for group in batchable_rows(counts, model.ragged):
        row, count = rows[group], counts[group]
        left = width - count
        read = longer[row].gather(1, count.unsqueeze(1) + torch.arange(int(left.max())))
        wanted = torch.arange(read.shape[1]) < left.unsqueeze(1)
        before = kept.take(row, count)
        at_once, _ = model.extend(before, read, wanted)
        behind = torch.cat([whole[r, n + 1 :] for r, n in zip(row.tolist(), count.tolist(), strict=True)])
        torch.testing.assert_close(torch.cat([*at_once]), behind, **close)
        one, after = model.extend(before, read[:, :1], wanted[:, :1])
        torch.testing.assert_close(torch.cat([*one]), whole[row, count + 1], **close)
        some = (left > 1).nonzero().squeeze(1)
        if len(some):
            two, _ = model.extend(after.take(some), read[some, 1:2], wanted[some, 1:2])
            torch.testing.assert_close(torch.cat([*two]), whole[row[some], count[some] + 2], **close)
