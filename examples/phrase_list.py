"""A thousand sentences, or a million: subjects, verbs and objects in every combination.

python examples/phrase_list.py 10 > thousand.txt
python examples/phrase_list.py 100 > million.txt
"""

import sys
from itertools import islice, product

PEOPLE = ["boy", "girl", "man", "woman", "teacher", "doctor", "farmer", "baker", "driver", "nurse"]
KINDS = ["", "old", "young", "tall", "tired", "poor", "rich", "happy", "angry", "busy"]
VERBS = ["reads", "buys", "sells", "finds", "loses", "wants", "likes", "hides", "paints", "forgets"]
WAYS = ["", "never", "often", "always", "sometimes", "really", "still", "almost", "also", "only"]
THINGS = ["book", "car", "house", "letter", "dog", "apple", "piano", "picture", "hat", "table"]
COLOURS = ["", "red", "new", "cheap", "big", "small", "strange", "heavy", "lovely", "broken"]


def joined(more, words):
    """Every word, then each behind every one of ``more``."""
    return [" ".join(filter(None, pair)) for pair in product(more, words)]


def sentences(count):
    """``count ** 3`` sentences of ``count`` subjects, verbs and objects, up to 100."""
    parts = (joined(KINDS, PEOPLE), joined(WAYS, VERBS), joined(COLOURS, THINGS))
    for subject, verb, thing in product(*(list(islice(part, count)) for part in parts)):
        yield f"The {subject} {verb} the {thing}."


if __name__ == "__main__":
    sys.stdout.writelines(f"{sentence}\n" for sentence in sentences(int(sys.argv[1])))
