"""The bare passes of a floor: the very logits that the step's own passes gave, whatever the plan and the split."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from experiments.benchmarking import floors
from experiments.benchmarking.baselines import masked_law
from experiments.benchmarking.measure import Recording
from experiments.benchmarking.profile import Kept, MaskedRows, TextRows, WholeTexts
from experiments.benchmarking.recording import Move, recorded
from experiments.benchmarking.reference_forwards import BareCausal, BareReader, BareSeq2Seq
from experiments.benchmarking.timing import CpuClock, Stage, choices, run_stage
from experiments.benchmarking.workloads import WORKLOADS, Size, Task
from experiments.results.cost import Cost
from lm_adapters.forward.batching import passes
from samplers import Proposed
from samplers.randomness import generator
from samplers.run import start_chains
from tests.experiments.tiny_models import tiny_models
from tests.lm_adapters import tiny_causal, tiny_seq2seq

SIZE = Size(chains=6, length=7, k=5)
CLOSE = {"atol": 1e-9, "rtol": 0}  # models of float64


def rows_of(stage: Stage, plan: str, tokens: int) -> list[Tensor]:
    """The logits ``[wanted, vocabulary]`` of each row."""
    found: dict[int, Tensor] = {}
    for rows in passes(stage.widths(plan), tokens):
        wanted = _wanted(stage)[rows].tolist()
        logits = stage.bare(plan, rows).run()
        assert len(logits) == sum(wanted)
        found |= dict(zip(rows.tolist(), logits.split(wanted), strict=True))
    return [found[row] for row in range(len(found))]


def _wanted(stage: Stage) -> Tensor:
    if isinstance(stage, TextRows):
        return stage.lengths - stage.since
    alone = isinstance(stage, MaskedRows) or stage.next_only
    return torch.ones_like(stage.lengths) if alone else stage.lengths + 1


def replayed(stage: Stage, expected: list[Tensor]) -> None:
    """Every plan gives the expected logits, cut into passes of one row, of some, and of all."""
    for plan in stage.plans:
        for tokens in (1, 20, 10**6):
            found = rows_of(stage, plan, tokens)
            assert len(found) == len(expected) > 0
            for one, other in zip(found, expected, strict=True):
                torch.testing.assert_close(one, other, **CLOSE)


def after(model: object, stage: TextRows) -> list[Tensor]:
    """By the adapter itself: the laws of what follows each token that the stage reads."""
    column = torch.arange(stage.x.shape[1] + 1)
    wanted = (column > stage.since.unsqueeze(1)) & (column <= stage.lengths.unsqueeze(1))
    return list(torch.cat([*model.logits(stage.x, wanted)]).split(wanted.sum(dim=1).tolist()))


def whole(model: object, stage: WholeTexts) -> list[Tensor]:
    """By the adapter itself: the laws of each token and of the end."""
    wanted = torch.arange(stage.x.shape[1] + 1) <= stage.lengths.unsqueeze(1)
    return list(torch.cat([*model.logits(stage.x, wanted)]).split(wanted.sum(dim=1).tolist()))


def stepped(name: str, steps: int = 1) -> tuple[Task, Recording, list[Tensor]]:
    """A task, what its steps did, and the logits of every pass of the proposing model."""
    task = WORKLOADS[name](tiny_models(), SIZE)
    state, rng, logits = start_chains(task.kernel, task.energy, task.x0), generator(3), []
    hook = None
    if task.proposer is not None:
        hook = task.proposer.model.register_forward_hook(lambda *a: logits.append(a[-1].logits.squeeze(0)))
    with torch.inference_mode(), recorded(task.kernel, task.proposer, task.models, CpuClock()) as recording:
        for _ in range(steps):
            state, _ = task.kernel.step(state, task.energy, rng)
    if hook is not None:
        hook.remove()
    return task, recording, logits


@pytest.mark.parametrize("name", ["gibbs", "mh-pll", "long-pll", "delayed", "keywords", "rescored", "translate"])
def test_proposing_rows_are_those_of_the_step(name):
    task, recording, logits = stepped(name)
    with torch.inference_mode():
        stage = next(iter(task.floor(recording.moves[0])))
        assert stage.name == "propose"
        masks = (stage.ids == task.proposer.space.mask_id).sum(dim=1)
        if bool((masks == 1).all()):
            replayed(stage, list(logits[0].split(1)))
        # Blocks have two masks a row; all at once they stand in the order of the pass.
        whole = stage.bare("whole", torch.arange(len(stage.ids))).run()
    torch.testing.assert_close(whole, logits[0], **CLOSE)


def test_pseudo_likelihood_rows_and_the_proposing_row_are_the_energy():
    lm = tiny_models().masked
    task, recording, _ = stepped("mh-pll")
    move = recording.moves[0]
    chains = floors.undecided(task.energy, move)
    with torch.inference_mode():
        _, stage = task.floor(move)
        law = torch.cat(rows_of(stage, "whole", 40)).log_softmax(dim=1)
        new, old = move.answer.x[chains], move.x[chains]
        sites = (new != old).long().argmax(dim=1)
        one = torch.arange(SIZE.length) == sites.unsqueeze(1)
        read = (~one).nonzero(as_tuple=True)
        known = lm.logits(new, one).log_softmax(dim=1).gather(1, new[one].unsqueeze(1)).squeeze(1)
        total = -known.index_add(0, read[0], law.gather(1, new[read].unsqueeze(1)).squeeze(1))
        torch.testing.assert_close(total, task.energy(new), **CLOSE)
    assert len(stage.ids) == len(chains) * (SIZE.length - 1)


def test_what_is_screened_is_scored_at_every_site_in_the_end():
    task, recording, _ = stepped("delayed")
    first, last = recording.moves[0].x, recording.moves[-1].x
    moved = last[(first != last).any(dim=1)]
    assert len(moved) > 0
    with torch.inference_mode():
        (stage,) = [stage for move in recording.moves for stage in task.floor(move) if stage.name == "score"]
        law = torch.cat(rows_of(stage, "whole", 40)).log_softmax(dim=1)
        total = -law.gather(1, moved.reshape(-1, 1)).reshape(moved.shape).sum(dim=1)
        torch.testing.assert_close(total, task.energy(moved), **CLOSE)


@pytest.mark.parametrize(("name", "scorer"), [("keywords", "causal"), ("translate", "seq2seq")])
def test_the_laws_of_whole_texts_are_their_energy(name, scorer):
    task, recording, _ = stepped(name, steps=4)
    given = tiny_models().causal.condition_on() if scorer == "causal" else tiny_models().seq2seq._last[1]
    seen = 0
    with torch.inference_mode():
        for move in recording.moves:
            for stage in list(task.floor(move))[1:]:
                assert len(stage.x) == len(floors.undecided(task.energy, move))
                replayed(stage, whole(given, stage))
                for row, law in enumerate(rows_of(stage, "whole", 50)):
                    tokens = [*stage.x[row, : int(stage.lengths[row])].tolist(), given.eos_id]
                    nats = -law.log_softmax(dim=1)[torch.arange(len(tokens)), torch.tensor(tokens)].sum()
                    torch.testing.assert_close(nats, task.energy(stage.x[row : row + 1])[0], **CLOSE)
                    seen += 1
    assert seen > 10


def test_candidates_are_all_but_the_current_token_of_chains_that_may_move():
    task, recording, _ = stepped("rescored")
    move = recording.moves[0]
    (x, site), values = move.arguments, move.answer
    current = x.gather(1, site.unsqueeze(1))
    moves = (values == current).any(dim=1)
    with torch.inference_mode():
        _, read, stage = task.floor(move)
        assert read.lengths.tolist() == site[moves].tolist()
        replayed(read, whole(tiny_models().causal.condition_on(), read))
        assert len(stage.x) == int(moves.sum()) * (SIZE.k - 1) > 0
        assert bool((stage.x.gather(1, site[stage.chains].unsqueeze(1)) != current[stage.chains]).all())
        replayed(stage, after(tiny_models().causal.condition_on(), stage))


def test_tokens_are_drawn_one_after_the_other():
    task, recording, _ = stepped("suffix", steps=3)
    given, space = tiny_models().causal.condition_on(), tiny_models().causal.space
    with torch.inference_mode():
        for move in recording.moves:
            read, *stages = task.floor(move)
            new, column = move.answer.x, torch.arange(SIZE.length)
            assert torch.equal(read.lengths, move.cut)
            for text in (move.x, new):
                assert torch.equal(read.x, text.where(column < move.cut.unsqueeze(1), space.pad_id))
            for stage in (read, *stages):
                assert stage.drawn
                stage.drawn = False  # what is compared is the law that the tokens are drawn from
            replayed(read, [law[-1:] for law in whole(given, read)])
            reads = space.lengths(new) - move.cut
            assert sum(len(stage.x) for stage in stages) == int(reads.sum())
            assert len(stages) == int(reads.max())
            for stage in stages:
                assert bool((stage.widths("suffix") == 1).all())
                replayed(stage, after(given, stage))


@pytest.mark.parametrize("name", ["gpt2", "llama", "qwen2"])
def test_prefixes_of_unlike_length_share_a_pass_of_a_causal_model(name):
    lm = tiny_causal.build(name, double=True)
    _unlike_prefixes(BareCausal(lm), lm.condition_on())


@pytest.mark.parametrize("name", ["t5", "mt5", "marian", "bart forced"])
def test_prefixes_of_unlike_length_share_a_pass_of_a_decoder(name):
    lm = tiny_seq2seq.lm(name)
    reader = BareSeq2Seq(lm, tiny_seq2seq.SOURCE)
    assert reader.plans == (("whole", "suffix") if name.endswith("t5") else ("whole",))
    with torch.inference_mode():
        _unlike_prefixes(reader, lm.condition_on(tiny_seq2seq.SOURCE))


def _unlike_prefixes(reader: BareReader, given: object) -> None:
    space = given.space
    old = space.encode(["a b c d e f", "h i j", "k"], width=30)
    chains, since = torch.tensor([0, 0, 1, 2, 1]), torch.tensor([0, 4, 2, 0, 1])
    new = old[chains].clone()
    new[torch.arange(5), since] = int(space.encode(["z"])[0, 0])
    with torch.inference_mode():
        stage = TextRows("score", Kept(reader, old), new, since, chains)
        replayed(stage, after(given, stage))


def test_what_is_decided_already_is_not_read():
    """An unchanged text, one without a way back, and one that a constraint forbids."""
    task, recording, _ = stepped("keywords")
    move = recording.moves[0]
    x, new = task.x0[:4], task.x0[:4].clone()
    free = (task.energy.parts[0][1].pieces(x[:4]) == 0) & tiny_models().masked.space.is_token(x)
    for row in (1, 2):
        new[row, int(free[row].long().argmax())] += 1
    new[3] = tiny_models().masked.space.pad_id
    new[3, 0] = x[3, 0]
    back = torch.tensor([0.0, 0.0, -math.inf, 0.0], dtype=torch.float64)
    answer = Proposed(new, torch.zeros_like(back), back)
    assert floors.undecided(task.energy, replace(move, arguments=(x,), answer=answer)).tolist() == [1]
    still = Move((x,), Proposed(x, back, back))
    nobody = torch.zeros(0, dtype=torch.int64)
    assert list(floors.rescored_texts(tiny_models().bare_causal, still, nobody)) == []
    assert list(floors.pseudo_likelihood_rows(tiny_models().bare_masked, still, nobody)) == []


def test_a_move_without_a_model_needs_no_row():
    assert list(floors.proposing_rows(tiny_models().bare_masked, Move((None,)))) == []


def test_cost_is_that_of_the_passes_as_they_are_cut():
    ids = torch.randint(10, 100, (5, 8))
    ids[:, 2] = tiny_models().masked.space.mask_id
    stage = MaskedRows("propose", tiny_models().bare_masked, ids, torch.tensor([8, 4, 8, 4, 4]))
    cost = Cost()
    with torch.inference_mode():
        plan = choices(stage)[0]
        run_stage(stage, replace(plan, tokens=12), CpuClock(), cost)
    assert (cost.forwards, cost.rows, cost.tokens) == (3, 5, 12 + 8 + 8)


def test_the_law_by_hand_is_that_of_the_row():
    lm = tiny_models().masked
    task, recording, _ = stepped("gibbs")
    with torch.inference_mode():
        (stage,) = task.floor(recording.moves[0])
        logits = torch.cat(rows_of(stage, "whole", 30)).masked_fill(~lm.allowed, -math.inf)
        for row, ids in enumerate(stage.ids.tolist()):
            text = ids[len(lm.space.prefix) : len(ids) - len(lm.space.suffix)]
            law = masked_law(lm, text, text.index(lm.space.mask_id))
            torch.testing.assert_close(law, logits[row].softmax(dim=0), **CLOSE)
