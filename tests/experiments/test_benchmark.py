"""``mcmc-text benchmark``: how it times, what it tells, that it leaves no trace. No figure of speed is tested."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM

from experiments.benchmark import CURVES, MODELS, WORKLOADS, benchmark
from experiments.benchmarking import measure as measuring
from experiments.benchmarking import models as making
from experiments.benchmarking import workloads as working
from experiments.benchmarking.measure import Line, measure
from experiments.benchmarking.memory import peak_memory
from experiments.benchmarking.models import Absent, Models, make_models
from experiments.benchmarking.recording import recorded
from experiments.benchmarking.reference_forwards import Pass
from experiments.benchmarking.table import COSTS, SPEED, growth, growth_in_words
from experiments.benchmarking.timing import Choice, CpuClock, Splits, choices, timed
from experiments.benchmarking.workloads import Size
from samplers import InvalidInput
from samplers.randomness import generator
from samplers.run import start_chains
from tests.experiments.tiny_models import tiny_models

SIZE = Size(chains=3, length=6, k=4)


@pytest.fixture(autouse=True)
def short_turns(monkeypatch):
    """Four steps each, however slow they are."""
    monkeypatch.setattr(measuring, "TURN", 0.0)
    monkeypatch.setattr(measuring, "SLOW", math.inf)


@pytest.fixture
def tiny(monkeypatch):
    """The command on tiny models; the seq2seq one is not there."""

    def load(task):
        if task == "seq2seq":
            raise Absent("seq2seq-en is not among the embedded models")
        return tiny_models().load(task)

    made = Models("embedded", load)
    monkeypatch.setattr(making, "make_models", lambda kind, **options: made)


class FakeClock:
    """Time goes on only when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def mark(self):
        return self.now

    def seconds(self, spans):
        return sum(end - start for start, end in spans)


class FakeStage:
    """A pass costs ``overhead`` and a second a token, and twice that for tokens beyond the ``cache``."""

    def __init__(self, clock, widths, *, overhead=30.0, cache=600, factor=None, name="score"):
        self.clock, self.all, self.overhead, self.cache = clock, torch.as_tensor(widths), overhead, cache
        self.factor, self.name = factor or {"whole": 1.0}, name
        self.plans = tuple(self.factor)

    def widths(self, plan):
        return self.all

    def take(self, rows):
        return FakeStage(
            self.clock, self.all[rows], overhead=self.overhead, cache=self.cache, factor=self.factor, name=self.name
        )

    def bare(self, plan, rows):
        self.clock.now += 1000  # making ready is not timed
        ids = torch.zeros(len(rows), int(self.all[rows].max()))

        def run():
            tokens = ids.numel()
            self.clock.now += self.overhead + self.factor[plan] * (tokens + max(0, tokens - self.cache))
            return ids

        return Pass(ids, run)


def test_the_fastest_split_is_found_and_timed():
    clock = FakeClock()
    stage = FakeStage(clock, [10] * 400)
    splits = Splits(clock, torch.device("cpu"))
    assert splits.floor([stage]) == 8 * 30 + 4000  # 4,000 tokens in passes of 512
    assert splits.chosen == {"score": Choice("whole", 512)}


def test_the_fastest_plan_is_found_for_each_kind_of_stage():
    clock = FakeClock()
    stages = [
        FakeStage(clock, [10] * 20, factor={"whole": 1.0, "suffix": 0.5}),
        FakeStage(clock, [10] * 20, factor={"whole": 1.0, "suffix": 2.0}, name="draw"),
    ]
    splits = Splits(clock, torch.device("cpu"))
    splits.floor(stages)
    assert splits.chosen == {"score": Choice("suffix", 256), "draw": Choice("whole", 256)}


def test_a_long_stage_is_tried_on_some_of_its_rows():
    clock = FakeClock()
    tried = []
    stage = FakeStage(clock, [10] * 100_000)
    stage.take = lambda rows: tried.append(rows) or FakeStage(clock, stage.all[rows])
    Splits(clock, torch.device("cpu")).learn([stage])
    assert (len(tried[0]), int(tried[0][0]), int(tried[0][-1])) == (409, 0, 99_999)


def test_splits_that_cut_alike_are_tried_once():
    assert choices(FakeStage(None, [10] * 40)) == [Choice("whole", 256), Choice("whole", 512)]


def test_a_split_without_memory_is_not_chosen():
    clock = FakeClock()
    stage = FakeStage(clock, [10] * 400)
    bare = stage.bare

    def scarce(plan, rows):
        if len(rows) > 30:
            raise RuntimeError("not enough memory: you tried to allocate")
        return bare(plan, rows)

    stage.bare = scarce
    splits = Splits(clock, torch.device("cpu"))
    splits.learn([stage])
    assert splits.chosen["score"] == Choice("whole", 256)


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_line_has_what_was_measured(name):
    line = measure(name, tiny_models(), SIZE, repeats=2)
    for seconds in (line.step, line.floor, line.by_hand, line.ratio, line.in_models):
        assert math.isfinite(seconds)
        assert seconds > 0
    assert line.in_models < 1
    assert line.cost["rows"] >= line.floor_cost["rows"] > 0
    assert line.by_hand_cost["rows"] > 0
    assert name in ("draws", "pairs") or line.by_hand_cost["forwards"] >= line.by_hand_cost["rows"], "one chain"
    assert line.peak is None or line.peak > 10**7
    assert line.ess_per_second is None
    assert set(line.splits) <= {"propose", "read", "score", "draw", "screen"}


def test_every_workload_of_the_command_is_one():
    assert tuple(working.WORKLOADS) == WORKLOADS


@pytest.mark.parametrize("name", ["gibbs", "keywords", "draws"])
def test_ess_is_told_where_it_is_asked_for(name):
    line = measure(name, tiny_models(), SIZE, repeats=1, ess_steps=40)
    assert line.ess_per_second is not None
    assert math.isnan(line.ess_per_second) or min(line.ess_per_second, line.ess_per_million_tokens) > 0


def test_pairs_are_no_chain_and_have_no_ess():
    line = measure("pairs", tiny_models(), SIZE, repeats=1, ess_steps=10)
    assert line.ess_per_second is line.ess_per_million_tokens is None


def test_draws_cost_their_floor_and_the_end():
    """A pass of one token for each column of the longest text; density and energy cost nothing."""
    line = measure("draws", tiny_models(), SIZE, repeats=2)
    assert line.cost["forwards"] <= SIZE.length + 1
    assert line.cost["tokens"] <= SIZE.chains * (SIZE.length + 1)
    assert line.floor_cost["rows"] <= line.cost["rows"]


def test_a_step_of_pairs_reads_each_once():
    line = measure("pairs", tiny_models(), SIZE, repeats=2)
    assert line.cost["rows"] <= 2 * SIZE.chains == 2 * line.floor_cost["rows"]


@pytest.mark.parametrize("name", WORKLOADS)
def test_recording_changes_no_draw_and_leaves_nothing_behind(name):
    task = working.WORKLOADS[name](tiny_models(), SIZE)
    hooks = [len(model._forward_hooks) + len(model._forward_pre_hooks) for model in task.models]
    state = start_chains(task.kernel, task.energy, task.x0)
    with torch.inference_mode():
        alone, _ = task.kernel.step(state, task.energy, generator(1))
        with recorded(task.kernel, task.proposer, task.models, CpuClock()) as recording:
            seconds = timed(lambda: task.kernel.step(state, task.energy, generator(1)), CpuClock())
        again, _ = task.kernel.step(state, task.energy, generator(1))
    move = recording.moves[0]
    assert len(recording.moves) == (working.MOVES if name == "delayed" else 1)
    assert torch.equal(move.x, state.x)
    assert torch.equal(alone.x, again.x)
    assert hooks == [len(model._forward_hooks) + len(model._forward_pre_hooks) for model in task.models]
    assert 0 < CpuClock().seconds(recording.inside) < seconds
    assert recording.cost.forwards == len(recording.inside)


def test_a_gibbs_step_is_its_floor():
    """One row a chain, and nothing that the floor has less of."""
    line = measure("gibbs", tiny_models(), SIZE, repeats=2)
    assert line.cost == line.floor_cost == {"forwards": 1, "rows": 3, "tokens": 3 * (SIZE.length + 2)}


def test_peak_memory_sees_what_is_taken_for_a_moment():
    def take(megabytes: int) -> None:
        torch.ones(megabytes * 2**18)

    small, large = (peak_memory(lambda n=n: take(n), torch.device("cpu")) for n in (1, 120))
    if small is None:
        pytest.skip("this system does not tell")
    assert 80 * 2**20 < large - small < 160 * 2**20


def line_of(**given) -> Line:
    size = {name: given.pop(name) for name in ("chains", "length", "k") if name in given}
    cost = {"forwards": 3.0, "rows": 120.0, "tokens": 4000.0}
    return replace(
        Line(
            workload="translate", models="embedded", vocabulary=131_072, size=replace(Size(512, 64, 128), **size),
            step=1e-4, floor=0.9e-4, ratio=0.9, in_models=0.95, by_hand=2e-3, cost=cost, floor_cost=cost,
            by_hand_cost=cost, splits={"propose": "whole 131072", "score": "suffix 131072"}, peak=99_999 * 2**20,
            ess_per_second=12345.6, ess_per_million_tokens=12345.6,
        ),
        **given,
    )  # fmt: skip


@pytest.mark.parametrize("varied", CURVES)
def test_tables_fit_a_hundred_columns(varied):
    for table in (SPEED, COSTS):
        rows = [table.head(varied), table.row(line_of(), varied), table.row(line_of(splits={}, peak=None), varied)]
        assert max(map(len, rows)) <= 100
        cells = [row.count("|") for row in table.markdown([line_of()], varied)]
        assert cells == [len(table.named) + 4] * 3


def test_growth_is_a_power_and_bytes_for_each():
    lines = [line_of(chains=n, step=1e-3 * n**0.5, peak=10**8 + 2048 * n) for n in (1, 4, 16, 64)]
    (told,) = growth(lines, "chains")
    assert told["exponent"] == pytest.approx(0.5)
    assert told["bytes"] == pytest.approx(2048)
    assert told["bytes_at_none"] == pytest.approx(10**8)
    assert growth_in_words(told).endswith("time of a step like chains^0.50, memory 95 MB and 2.0 KB for each")
    assert list(growth(lines[:2], "chains")) == []
    (told,) = growth([replace(line, peak=None) for line in lines], "chains")
    assert "bytes" not in told


def test_the_command_prints_both_tables_and_what_is_missing(mcmc_text, tiny):
    result = mcmc_text(
        "benchmark", "--quick", "--workload", "gibbs", "--workload", "translate", "--length", 5, "--repeats", 1
    )
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert "threads" in lines[0]
    assert max(map(len, lines)) <= 100
    assert sum(line.startswith("gibbs      embedded") for line in lines) == 4
    assert lines[-1] == "left out: translate, embedded: seq2seq-en is not among the embedded models"


def test_json_is_lines(mcmc_text, tiny):
    result = mcmc_text("benchmark", "--json", "--models", "embedded", "--workload", "gibbs", "--workload", "translate",
                       "--length", 5, "--repeats", 1, "--chains", 1, "--chains", 2, "--chains", 3)  # fmt: skip
    assert result.exit_code == 0, result.stderr
    machine, *lines, left_out, grown = map(json.loads, result.stdout.splitlines())
    assert machine["machine"]["threads"] == torch.get_num_threads()
    assert [line["size"]["chains"] for line in lines] == [1, 2, 3]
    assert all(line["chain_steps_per_second"] > 0 for line in lines)
    assert left_out["left_out"]["workload"] == "translate"
    assert grown["growth"]["varied"] == "chains"


def test_markdown_is_two_tables(mcmc_text, tiny):
    result = mcmc_text("benchmark", "--markdown", "--quick", "--workload", "suffix", "--length", 5, "--repeats", 1)
    assert result.exit_code == 0, result.stderr
    assert sum(line.startswith("| suffix | embedded |") for line in result.stdout.splitlines()) == 4


def test_a_curve_varies_one_thing(tiny, monkeypatch):
    monkeypatch.setattr("experiments.benchmark.CURVES", {"length": (4, 5, 6), "k": (2, 3)})
    found = list(benchmark(workloads=("gibbs",), models=("embedded",), chains=(2,), curve="length", repeats=1))
    assert [(line.size.chains, line.size.length) for line in found] == [(2, 4), (2, 5), (2, 6)]
    found = list(
        benchmark(workloads=("gibbs", "rescored"), models=("embedded",), chains=(2,), length=5, curve="k", repeats=1)
    )
    assert [(line.workload, line.size.k) for line in found] == [("rescored", 2), ("rescored", 3)]


def test_a_step_that_would_take_too_long_is_left_out(tiny):
    measured, left_out = benchmark(
        workloads=("gibbs",), models=("embedded",), chains=(1, 10**6, 10**7), length=5, repeats=1
    )
    assert measured.size.chains == 1
    assert "a step of 1,000,000 chains" in left_out.why


@pytest.mark.parametrize(
    "arguments",
    [["--chains", 0], ["--workload", "chess"], ["--models", "huge"], ["--curve", "moon"], ["--device", "tpu9"],
     ["--length", 3], ["--length", 127], ["--dtype", "int3"]],
)  # fmt: skip
def test_bad_input_is_one_line(mcmc_text, arguments):
    result = mcmc_text("benchmark", "--workload", "gibbs", *arguments)
    assert (result.exit_code, len(result.stderr.strip().splitlines())) == (2, 1)
    assert str(arguments[1]) in result.stderr


@pytest.mark.parametrize(
    ("task", "auto", "millions", "vocabulary"),
    [
        ("masked", AutoModelForMaskedLM, 109.5, 30522),
        ("causal", AutoModelForCausalLM, 124.4, 50257),
        ("seq2seq", AutoModelForSeq2SeqLM, 60.5, 32128),
    ],
)
def test_base_shapes_are_the_published_ones(task, auto, millions, vocabulary):
    config = making._base_shape(task, making._tokenizer())
    assert config.vocab_size == vocabulary
    with torch.device("meta"):
        assert auto.from_config(config).num_parameters() / 1e6 == pytest.approx(millions, abs=0.1)


@pytest.mark.parametrize("kind", MODELS)
def test_the_longest_text_is_what_all_models_of_a_kind_take(kind):
    models = make_models(kind)
    lengths = [models.masked.max_length, models.causal.condition_on().max_length, models.seq2seq.max_length]
    assert min(lengths) == MODELS[kind]


def test_vocabulary_is_that_of_random_weights():
    lm = make_models("embedded", vocabulary=9000).causal
    assert lm.model.get_output_embeddings().weight.shape[0] == lm.space.vocabulary == 9000
    same = make_models("embedded", vocabulary=9000).causal
    assert torch.equal(lm.model.get_input_embeddings().weight, same.model.get_input_embeddings().weight)


def test_a_device_that_is_not_there_is_told_at_once():
    with pytest.raises(InvalidInput, match="tpu9"):
        make_models("base", device="tpu9")
