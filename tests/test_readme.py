"""The README's code runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

import samplers
from experiments.cli import main

README = (Path(__file__).parents[1] / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_the_custom_energy_runs_with_the_command_beside_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("my_energy.py").write_text(BLOCKS[0])
    command = re.search(r"mcmc-text (gibbs --energy my_energy.py.*?) --init \"(.*?)\"", README)
    arguments = [*command[1].split(), "--init", command[2], "--chains", "2", "--steps", "8", "--warmup", "2"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.stderr
    assert "2 about_music" in result.stdout


def test_the_python_example_runs(capsys):
    exec(compile(BLOCKS[1], "README.md", "exec"), {})
    assert "r_hat" in capsys.readouterr().out


def test_every_sampler_named_in_the_table_exists():
    table = README[README.index("| sampler |") : README.index("`mcmc-text toy`")]
    names = re.findall(r"`(\w+)`", "\n".join(line.split("|")[1] for line in table.splitlines()[2:] if "|" in line))
    assert len(names) >= 9
    assert all(hasattr(samplers, name) for name in names)


@pytest.mark.parametrize("target", re.findall(r"make (\w+)", README))
def test_every_make_target_named_exists(target):
    makefile = (Path(__file__).parents[1] / "Makefile").read_text()
    assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)


def test_every_option_named_exists():
    for command, options in re.findall(r"mcmc-text (gibbs|toy|models)((?: --[\w-]+[^\n`]*)?)", README):
        known = {opt for parameter in main.get_command(None, command).params for opt in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", options)) <= {*known, "--help"}
