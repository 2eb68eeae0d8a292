"""``make soak``: experiments killed at random instants and resumed give the samples of a run that was left alone.

Not a test of a few seconds: each kill costs the start of a program, so that fifty of every experiment take an hour.
"""

import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

RUNS = {
    "gibbs": "gibbs --chains 6 --steps 150 --warmup 50",
    "keywords": "keywords music night --chains 6 --steps 120 --warmup 40",
    "tempered": "keywords music --sampler tempered --chains 4 --steps 80 --warmup 20",
    "two workers": "gibbs --chains 6 --shard-size 3 --workers 2 --steps 150 --warmup 50",
}


def start(command: str, out: Path) -> subprocess.Popen[bytes]:
    program = [sys.executable, "-m", "experiments.cli", *command.split(), "--commit-every", "5", "--quiet"]
    return subprocess.Popen([*program, "--out", str(out)], start_new_session=True)


def samples(out: Path) -> str:
    return hashlib.sha256((out / "samples.jsonl").read_bytes()).hexdigest()


def run_with_kills(command: str, out: Path, longest: float, chance: random.Random) -> int:
    """Kill the run, and start it again, until it is done; how many kills that took."""
    kills = 0
    while True:
        process = start(command, out)
        try:
            code = process.wait(timeout=chance.uniform(0, longest))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
            continue
        if code:
            raise click.ClickException(f"{out} ended with exit code {code} after {kills} kills")
        return kills


@click.command()
@click.option("--kills", type=click.IntRange(min=1), default=50, show_default=True, help="At least, of every run.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--only", type=click.Choice(list(RUNS)), multiple=True)
def soak(kills: int, seed: int, only: tuple[str, ...]) -> None:
    """Kill each run at random, resume it, and compare samples byte by byte."""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        for name in only or RUNS:
            began = time.monotonic()
            alone = Path(folder, name, "alone")
            if start(RUNS[name], alone).wait():
                raise click.ClickException(f"{name} failed without being killed")
            longest, done, rounds = time.monotonic() - began, 0, 0
            while done < kills:
                out = Path(folder, name, str(rounds))
                done, rounds = done + run_with_kills(RUNS[name], out, longest, chance), rounds + 1
                if samples(out) != samples(alone):
                    raise click.ClickException(f"{name}: the samples differ after {done} kills, round {rounds}")
            minutes = (time.monotonic() - began) / 60
            click.echo(f"{name:<12} {done} kills in {rounds} runs: samples identical, {minutes:.1f} min")


if __name__ == "__main__":
    soak()
