"""The runs of an evaluation: the same texts however many processes, in the order of the cases."""

import os
import warnings
from itertools import islice
from pathlib import Path

import pytest

from experiments.declaration.wording import Remark
from experiments.evaluating.cases import Case
from experiments.evaluating.many_runs import texts_of_cases


class Echo:
    """An experiment whose texts say what they were made of."""

    @staticmethod
    def run(word, seed):
        warnings.warn("a remark on a text", Remark, stacklevel=1)
        return Echo.Run([(0, 0.0, f"{word} {seed}"), (1, 0.0, str(os.getpid()))])

    class Run:
        def __init__(self, rows):
            self.rows = rows

        def shown(self):
            return self.rows


CASES = [Case(word, {"word": word}) for word in ("a", "b", "c", "d", "e")]


@pytest.mark.parametrize("workers", [1, 2])
def test_texts_come_in_the_order_of_the_cases(workers):
    found = [*texts_of_cases(Echo, {"seed": 3}, CASES, None, workers)]
    assert [texts[0] for texts in found] == ["a 3", "b 3", "c 3", "d 3", "e 3"]
    processes = {texts[1] for texts in found}
    assert (processes == {str(os.getpid())}) == (workers == 1)


@pytest.mark.parametrize("workers", [1, 2])
def test_each_run_has_a_folder_by_the_number_of_its_case(tmp_path, workers):
    class Kept(Echo):
        @staticmethod
        def run(word, seed, out):
            return Echo.run(f"{word} {Path(out).relative_to(tmp_path)}", seed)

    found = [texts[0] for texts in texts_of_cases(Kept, {"seed": 3}, CASES[:2], tmp_path, workers)]
    assert found == ["a 00000 3", "b 00001 3"]


def test_no_run_begins_that_nobody_waits_for():
    begun = []

    class Counted(Echo):
        @staticmethod
        def run(word, seed):
            begun.append(word)
            return Echo.run(word, seed)

    assert len([*islice(texts_of_cases(Counted, {"seed": 0}, CASES, None, 1), 2)]) == 2
    assert begun == ["a", "b"]
