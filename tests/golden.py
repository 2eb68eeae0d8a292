"""Golden traces: what every command and every kernel of the battery draws for a seed, as one hash each.

``python -m tests.golden`` draws and compares with ``golden.json``; ``--write`` records. The hashes hold for one kind of
processor and one set of library versions, which ``golden.json`` names: elsewhere sums round otherwise, and there is
nothing to compare. A change of code that changes a hash changes what a seed means, and belongs in CHANGELOG.md.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import platform
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path

import torch
from click.testing import CliRunner

from experiments.cli import main as mcmc_text
from samplers import generator, sample
from samplers.testing import CASES, Case

RECORD = Path(__file__).with_name("golden.json")
LIBRARIES = ("torch", "transformers", "tokenizers", "numpy")

SHORT = "--steps 40 --warmup 10 --thin 4 --chains 6"
SEARCH = "--steps 40 --chains 4"
HOME, SHUT = '"I would like to go home now."', '"Il a oublié de fermer la porte hier soir." --must-contain shut'
BLANKS = '"The [MASK] sat on the [MASK:1-3]."'
ABOUT_WORK = '"Tom said that he would come to my house after work."'
DRAWN = {
    "gibbs": f"gibbs {SHORT}",
    "gibbs, no accept step": f"gibbs {SHORT} --correct none",
    "gibbs, blocks": f"gibbs {SHORT} --block 2 --top-k 50 --scan systematic",
    "gibbs, raw energy": f"gibbs {SHORT} --energy-kind raw --nan reject",
    "gibbs, own energy": f'gibbs {SHORT} --energy my_energy.py:about_music=2 --init "I like to play." --forbid Tom',
    "gibbs, workers": f"gibbs {SHORT} --shard-size 2 --workers 2",
    **{
        f"keywords, {sampler}": f"keywords music night {SHORT} --sampler {sampler} --shortlist 16"
        for sampler in ("mh", "gibbs", "tempered", "anneal", "importance")
    },
    "keywords, smc": "keywords music --sampler smc --particles 16 --populations 2 --moves 1 --chains 6",
    "keywords, causal": f"keywords music night {SHORT} --scorer causal-en",
    "keywords, any order": f"keywords night music last {SHORT} --any-order",
    "keywords, rejection": "keywords the --sampler rejection --temperature 1 --steps 20 --chains 6",
    "infill": f"infill {BLANKS} {SHORT}",
    "infill, gibbs": f"infill {BLANKS} {SHORT} --sampler gibbs --shortlist 16",
    "paraphrase": f"paraphrase {HOME} {SEARCH}",
    "paraphrase, mh": f"paraphrase {HOME} {SHORT} --sampler mh",
    "summarize": f"summarize {ABOUT_WORK} --max-words 6 {SEARCH}",
    "translate": f"translate {SHUT} {SEARCH}",
    "translate, mh": f"translate {SHUT} {SHORT} --sampler mh",
}
PRINTED = {
    "score": "score texts.txt --model masked-en --model causal-en",
    "score, source": 'score texts.txt --model seq2seq-en --source "J\'aime la musique."',
    "toy": "toy --draws 500",
    "models": "models",
}
TEXTS = "I like music at night.\nMusic like I night at.\nTom is here.\n"
ENERGY = """
import math


def about_music(texts):
    return [math.inf if "?" in text else -3.0 * ("music" in text or "piano" in text) for text in texts]
"""


def machine() -> dict[str, str]:
    """What the hashes hold for."""
    cpuinfo = Path("/proc/cpuinfo")
    facts = re.search(r"vendor_id\s*: (\w+)", cpuinfo.read_text() if cpuinfo.exists() else "")
    vendor = facts[1] if facts else platform.system()
    processor = f"{platform.machine()} {vendor} {torch.backends.cpu.get_cpu_capability()}"
    return {"processor": processor, **{name: version(name).partition("+")[0] for name in LIBRARIES}}


def recorded() -> dict[str, dict[str, str]]:
    """``machine`` and ``traces``, as ``golden.json`` has them."""
    return json.loads(RECORD.read_text())


def traces() -> dict[str, Callable[[], str]]:
    """For every name, a function that draws and returns the hash. It works in the current folder, which it fills."""
    return {
        **{name: partial(_hash_of_command, line, file="samples.jsonl") for name, line in DRAWN.items()},
        **{name: partial(_hash_of_command, line, file=None) for name, line in PRINTED.items()},
        **{f"kernel: {case.name}": partial(_hash_of_case, case) for case in CASES},
    }


def _hash_of_command(line: str, file: str | None) -> str:
    """Of one file of the run's folder, or of what the command prints."""
    Path("texts.txt").write_text(TEXTS)
    Path("my_energy.py").write_text(ENERGY)
    shutil.rmtree("run", ignore_errors=True)
    result = CliRunner().invoke(mcmc_text, [*shlex.split(line), *(["--quiet", "--out", "run"] if file else [])])
    assert result.exit_code == 0, f"mcmc-text {line}: {result.stderr}"
    content = Path("run", file).read_bytes() if file else result.stdout.encode()
    assert content, f"mcmc-text {line}: nothing drawn"
    return hashlib.sha256(content).hexdigest()


def _hash_of_case(case: Case) -> str:
    rng = generator(5)
    start = torch.multinomial(case.target.probabilities(), 64, replacement=True, generator=rng)
    x0, settings = case.target.states[start], {"warmup": 5, "thin": 2, "shard_size": 16, "progress": False}
    trace = sample(case.kernel, case.target.energy, x0, steps=30, seed=3, **settings)
    drawn = (trace.draws, trace.energy, trace.terms)
    return hashlib.sha256(b"".join(part.numpy().tobytes() for part in drawn)).hexdigest()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.golden", description=__doc__.partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="record the hashes of this machine in golden.json")
    write = parser.parse_args().write
    if not write and recorded()["machine"] != machine():
        print(f"golden.json holds for {recorded()['machine']}, this is {machine()}; nothing can be compared")
        return 1
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        drawn = {}
        for name, draw in traces().items():
            drawn[name] = draw()
            same = write or recorded()["traces"].get(name) == drawn[name]
            print(f"{drawn[name][:12]}  {name}{'' if same else '  DIFFERS'}", flush=True)
    if write:
        RECORD.write_text(json.dumps({"machine": machine(), "traces": drawn}, indent=1, ensure_ascii=False) + "\n")
        return 0
    gone = sorted(set(recorded()["traces"]) - set(drawn))
    print("".join(f"{name}  GONE\n" for name in gone), end="")
    return int(drawn != recorded()["traces"])


if __name__ == "__main__":
    sys.exit(main())
