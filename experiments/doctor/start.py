"""The two files with which an energy of one's own begins; ``NAME`` stands for its name."""

__all__ = ["ENERGY", "TEST"]

ENERGY = '''\
"""The energy NAME: how bad a text is, in nats. exp(-energy) is its share of the law; one nat less, 2.7 times as likely.

Change long_words below into what you want of a text, then examine it and use it:

    mcmc-text check-energy NAME.py:NAME
    mcmc-text keywords music night --energy NAME.py:NAME=2
"""

PRICE = 0.5  # nats; texts of the embedded models have 20 to 40 in all, so that a whole text should cost a few


def NAME(texts):
    """Short words: PRICE nats for every letter of a word beyond the fifth."""
    # texts is a list of strings; return one number for each, in the same order. A number must depend on its own text
    # alone: not on the others, on chance, or on what was asked before. Lower is likelier, math.inf forbids, NaN is an
    # error. Prices that fall step by step lead chains to what you want; a text may be empty, or in any script.
    return [PRICE * long_letters(text) for text in texts]


def long_letters(text):
    return sum(max(0, len(word.strip(".,;:!?'\\"")) - 5) for word in text.split())


if __name__ == "__main__":
    for text in ("The cat sat here.", "Unquestionably, cats procrastinate."):
        print(NAME([text])[0], text)
'''

TEST = '''\
"""Tests of the energy NAME: run them with pytest, or with python test_NAME.py."""

from NAME import NAME

from experiments import examine_energy


def test_what_is_wanted_costs_less():
    wanted, unwanted = NAME(["The cat sat here.", "Unquestionably, cats procrastinate."])
    assert wanted < unwanted


def test_it_can_be_relied_on():
    found = examine_energy(NAME)  # one number a text, of that text alone, again and again; with run=True a short run
    assert found.is_well, found


if __name__ == "__main__":
    test_what_is_wanted_costs_less()
    test_it_can_be_relied_on()
    print("passed")
'''
