from __future__ import annotations

import textwrap

import pytest
import torch

from experiments.gibbs import gibbs
from experiments.setup.custom_energy import load_custom_energies
from samplers import EnergyError, InvalidInput

QUICK = {"chains": 4, "steps": 6, "warmup": 0, "thin": 1, "length": (4, 4)}


@pytest.fixture
def write(tmp_path):
    def _write(code: str) -> str:
        path = tmp_path / "mine.py"
        path.write_text(textwrap.dedent(code))
        return str(path)

    return _write


def test_texts_energy_is_added_with_its_weight(embedded, write):
    path = write("""
        def letters(texts):
            return [len(text) for text in texts]
    """)
    run = gibbs(model=embedded, energies=[f"{path}:letters=0.5"], **QUICK)
    assert run.trace.term_names == ("pll", "letters", "real words", "new texts")
    lengths = torch.tensor([[len(text) for text in chain] for chain in run.texts()], dtype=torch.float64)
    torch.testing.assert_close(run.trace.terms[..., 1], 0.5 * lengths)
    torch.testing.assert_close(run.trace.terms.sum(dim=2), run.trace.energy)
    assert (
        run.target == "exp(-(pll + 0.5 letters)), pll by masked-en, over token sequences of length 4 in real words, "
        "new to the models"
    )


def test_a_callable_on_tensors_works_too(embedded, write):
    path = write("""
        import torch

        def ids(x: torch.Tensor) -> torch.Tensor:
            return x.double().mean(dim=1) / 1000
    """)
    run = gibbs(model=embedded, energies=[f"{path}:ids"], **QUICK)
    torch.testing.assert_close(run.trace.terms[..., 1], run.trace.draws.double().mean(dim=2) / 1000)


def test_infinity_forbids(embedded, write):
    path = write("""
        import math

        def no_e(texts):
            return [math.inf if "e" in text else 0.0 for text in texts]
    """)
    run = gibbs(model=embedded, energies=[f"{path}:no_e"], init="Tom is ill.", **{**QUICK, "steps": 30})
    assert all("e" not in text for chain in run.texts() for text in chain)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return [1 / 0 for text in texts]", r"raised ZeroDivisionError.*mine\.py:3: return \[1 / 0"),
        ("return [float('nan')] * len(texts)", "is NaN"),
        ("return [float('-inf')] * len(texts)", "is -inf"),
        ("return [0.0]", "returned 1 values for 4 texts"),
        ("return None", "returned None, not a list"),
        ("return ['low' for text in texts]", "returned 'low'"),
        ("return 'abc'", "returned str"),
    ],
)
def test_errors_show_the_text_and_the_users_line(embedded, write, body, message):
    path = write(f"""
        def mine(texts):
            {body}
    """)
    with pytest.raises(EnergyError, match=message) as caught:
        gibbs(model=embedded, energies=[f"{path}:mine"], init="Tom is here.", **QUICK)
    assert "at the start" in str(caught.value)
    assert "Tom is here." in str(caught.value)


def test_the_one_text_at_fault_is_named(embedded, write):
    path = write("""
        def picky(texts):
            return [float("nan") if text.startswith("She") else 0.0 for text in texts]
    """)
    term = load_custom_energies([f"{path}:picky"])[0].term(embedded.space)
    x = embedded.space.encode(["I am here.", "She is here."])
    with pytest.raises(EnergyError) as caught:
        term(x)
    assert caught.value.rows == [1]
    assert caught.value.texts == ["She is here."]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("mine.py", "write FILE.py:NAME"),
        ("mine.txt:f", "write FILE.py:NAME"),
        ("absent.py:f", "there is no file"),
        ("{path}:absent", "defines no function 'absent'"),
        ("{path}:number", "defines no function 'number'"),
        ("{path}:f=heavy", "weight 'heavy' is not a finite number"),
        ("{path}:f=nan", "weight 'nan' is not a finite number"),
    ],
)
def test_bad_specs(write, spec, message):
    path = write("""
        number = 3

        def f(texts):
            return [0.0] * len(texts)
    """)
    with pytest.raises(InvalidInput, match=message):
        load_custom_energies([spec.format(path=path)])


def test_a_file_that_cannot_be_imported_is_told(write):
    path = write("import nothing_of_that_name")
    with pytest.raises(InvalidInput, match="raised ModuleNotFoundError"):
        load_custom_energies([f"{path}:f"])


def test_one_name_twice_is_refused(write):
    path = write("def f(texts):\n    return [0.0] * len(texts)\n")
    with pytest.raises(InvalidInput, match="names 'f' twice"):
        load_custom_energies([f"{path}:f", f"{path}:f=2"])


def test_the_name_of_a_term_that_is_there_is_refused(embedded, write):
    path = write("def pll(texts):\n    return [0.0] * len(texts)\n")
    with pytest.raises(InvalidInput, match="energies names 'pll', which the experiment has already"):
        gibbs(model=embedded, energies=[f"{path}:pll"], **QUICK)
