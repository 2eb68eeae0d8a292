"""Given texts, their energies and terms, as JSON Lines: every line has its line, in memory that does not grow."""

from __future__ import annotations

import io
import json
import re
from itertools import count, islice

import pytest
import torch

from experiments.score import score
from experiments.scoring import lines as reading
from experiments.scoring.lines import read_lines
from experiments.setup.scorers import source_prefix
from lm_adapters import CausalLM, MaskedEnergy, MaskedLM, Seq2SeqLM, SequenceEnergy
from samplers import EnergyError, InvalidInput

TEXTS = ["Tom is here.", "I like to play the piano."]
LONG = "word " * 200  # masked-en takes 126 tokens
FRENCH = "Je voudrais rentrer à la maison."


@pytest.fixture
def scored(mcmc_text, tmp_path):
    """Objects that ``score`` prints of a file with this content."""

    def run(content: bytes | str, *arguments: str, name: str = "texts.txt") -> list[dict]:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        result = mcmc_text("score", name, *arguments)
        assert result.exit_code == 0, result.stderr
        return [json.loads(line) for line in result.stdout.splitlines()]

    return run


@pytest.fixture
def short_words(tmp_path):
    (tmp_path / "mine.py").write_text(
        "def short(texts):\n    return [len(text) for text in texts]\n"
        "def picky(texts):\n    return [1 / (text.count('o') - 2) for text in texts]\n"
        "def wrong(texts):\n    return [1.0]\n"
    )
    return tmp_path / "mine.py"


def test_each_model_and_each_energy_is_a_term(scored, short_words, embedded):
    lines = scored("\n".join(TEXTS) + "\n", "--energy", "mine.py:short=0.5")
    assert [line["text"] for line in lines] == TEXTS
    own = MaskedEnergy(embedded, "pll")(embedded.space.encode(TEXTS)).tolist()
    for line, text, nats in zip(lines, TEXTS, own, strict=True):
        assert line["terms"]["masked-en"] == pytest.approx(nats, abs=1e-4)
        assert line["terms"]["short"] == 0.5 * len(text)
        assert line["energy"] == pytest.approx(sum(line["terms"].values()))


# Reading


def texts(content: bytes, form: str = "auto") -> list[str]:
    return [line.text for line in read_lines(io.BytesIO(content), form, "FILE")]


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 2**16])
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", []),
        (b"\n", [""]),
        (b"a\nb", ["a", "b"]),
        (b"a\nb\n", ["a", "b"]),
        (b"a\r\nb\r\n\r\nc", ["a", "b", "", "c"]),
        (b"a\rb\r", ["a", "b"]),
        (b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n", ["a", "\ufeffb"]),
        (b"\xef\xbb\xbf", []),
        ("é\u2028ü\x0bx\x85y\n音乐\n".encode(), ["é\u2028ü\x0bx\x85y", "音乐"]),
    ],
)
def test_lines_and_their_ends(monkeypatch, chunk, content, expected):
    monkeypatch.setattr(reading, "CHUNK", chunk)
    assert texts(content) == expected


def test_a_line_that_is_too_long_is_not_held(monkeypatch):
    monkeypatch.setattr(reading, "CHUNK", 10)
    monkeypatch.setattr(reading, "LONGEST", 50)
    found = list(read_lines(io.BytesIO(b"a\r\n" + b"b" * 1000 + b"\r\nc\n" + b"d" * 45), "auto", "FILE"))
    assert [line.text[:1] for line in found] == ["a", "b", "c", "d"]
    assert [line.problem for line in found] == [None, "more than 50 bytes; cut it", None, None]


@pytest.mark.parametrize(
    ("content", "form", "expected"),
    [
        (b'{"text": "a"}\n\n{"text": "b", "chain": 3}\n', "auto", ["a", "", "b"]),
        (b'\n \n{"text": "a"}', "auto", ["", " ", "a"]),
        (b'\xef\xbb\xbf{"text": "a"}\n', "auto", ["a"]),
        (b'{"text": "a\\r\\nb"}\r\n', "auto", ["a\r\nb"]),
        (b'{no json\n{"text": "a"}\n', "auto", ["{no json", '{"text": "a"}']),
        (b'fine\n{"text": "a"}\n{\n', "auto", ["fine", '{"text": "a"}', "{"]),
        (b'{"text": "a"}\n', "text", ['{"text": "a"}']),
    ],
)
def test_json_lines_are_known_by_their_first(content, form, expected):
    assert texts(content, form) == expected


def test_samples_of_a_run_can_be_scored(scored):
    lines = scored('{"chain": 0, "text": "Tom is here."}\n', name="samples.jsonl")
    assert [line["text"] for line in lines] == ["Tom is here."]
    assert scored("\n".join(json.dumps(line) for line in lines)) == lines  # what it prints, too


# Order


def test_a_blank_line_has_a_line_of_its_own(scored, short_words):
    lines = scored("\n\nTom is here.\n \nTom isn't here.\n\n", "--energy", "mine.py:short")
    assert [line["text"] for line in lines] == ["", "", "Tom is here.", " ", "Tom isn't here.", ""]
    assert [line["energy"] is None for line in lines] == [True, True, False, True, False, True]
    assert lines[0] == {"text": "", "energy": None, "terms": {}}


def test_an_energy_does_not_depend_on_the_other_lines():
    rng = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 24, (40,), generator=rng).tolist()
    many = [" ".join(["Tom", "likes", "the", "music"][(k + n) % 4] for k in range(n)) for n in lengths]
    found = list(score(many, models=["masked-en", "causal-en"]))
    assert [line["text"] for line in found] == many
    for row in (0, 15, 16, 17, 39):
        (alone,) = score([many[row]], models=["masked-en", "causal-en"])
        assert alone["terms"] == pytest.approx(found[row]["terms"], abs=1e-4)


def test_any_iterable_is_read_no_further_than_a_window():
    read = []

    def endless():
        for number in count():
            read.append(number)
            yield f"Tom has {number} books."

    found = list(islice(score(endless(), models=["causal-en"]), 10))
    assert [line["text"] for line in found] == [f"Tom has {number} books." for number in range(10)]
    assert len(read) <= 16


# Lines that cannot be scored

BAD = [
    ('{"text": "fine"}\n{"words": 3}\n', "line 2: no JSON object with a 'text'"),
    ('{"text": "fine"}\n{"text": 3}\n', "line 2: 'text' is 3"),
    ('{"text": "fine"}\nTom\n', "line 2: no JSON object with a 'text'"),
    (
        '{"text": "fine"}\n{"text": "half \\ud83d"}\n',
        "line 2: half a character (a lone surrogate) stands at character 6 of 'half \\ud83d'",
    ),
    (
        "fine\n\n<mask> is here\n",
        "line 3: the text holds the special token '<mask>' at character 1 of '<mask> is here'",
    ),
    (b"fine\nab\xffc\n", "line 2: no UTF-8 (byte 0xff at 3)"),
    (b"fine\n" + "Tom is here.".encode("utf-16-le"), "line 2: a NUL byte, as in UTF-16"),
    (f"fine\n{LONG}\n", "line 2: the text has 201 tokens, masked-en takes 126; shorten it"),
]


def write(tmp_path, content):
    (tmp_path / "texts.txt").write_bytes(content if isinstance(content, bytes) else content.encode())


@pytest.mark.parametrize(("content", "named"), BAD)
def test_a_file_is_refused_before_anything_is_scored(mcmc_text, tmp_path, content, named):
    write(tmp_path, content)
    result = mcmc_text("score", "texts.txt")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"error: FILE 'texts.txt', {named}")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(("content", "named"), BAD)
def test_a_pipe_is_scored_up_to_the_line(mcmc_text, content, named):
    result = mcmc_text("score", "-", input=content)
    assert result.exit_code == 2
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["text"] for line in lines] == ["fine", ""][: len(lines)]
    assert f"line {len(lines) + 1}:" in named
    assert result.stderr.startswith(f"error: standard input, {named}")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(("content", "named"), BAD)
def test_with_null_all_others_are_scored(mcmc_text, tmp_path, content, named):
    write(tmp_path, content)
    lines = content.splitlines()
    (tmp_path / "more.txt").write_bytes(
        b"\n".join(line if isinstance(line, bytes) else line.encode() for line in [*lines, *lines])
    )
    result = mcmc_text("score", "more.txt", "--on-error", "null")
    assert result.exit_code == 0
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(found) == 2 * len(lines)
    assert [line["energy"] for line in found if line["text"] == "fine"][1:] == [found[0]["energy"]]
    failed = [index for index, line in enumerate(found) if "error" in line]
    assert failed == [len(lines) - 1, 2 * len(lines) - 1]
    reason = named.partition(": ")[2]
    assert all(found[index]["error"].startswith(reason) and found[index]["energy"] is None for index in failed)
    assert result.stderr.startswith(f"2 of {len(found)} lines could not be scored")


def test_with_null_the_neighbours_of_a_bad_line_keep_their_energies():
    good = [f"Tom has {number} books." for number in range(60)]
    bad = {7: LONG, 31: "<mask>", 59: "<s> Tom"}
    mixed = [bad.get(index, text) for index, text in enumerate(good)]
    expected = [line["energy"] for line in score(good, models=["causal-en"])]
    for index, line in enumerate(score(mixed, models=["causal-en"], on_error="null")):
        assert ("error" in line) == (index in bad)
        assert index in bad or line["energy"] == pytest.approx(expected[index], abs=1e-4)


def test_an_energy_that_fails_names_the_line(mcmc_text, short_words, tmp_path):
    write(tmp_path, "Tom\n\nfoo\nno\nzoo boo\n")  # two o are a division by zero
    result = mcmc_text("score", "texts.txt", "--energy", "mine.py:picky")
    assert result.exit_code == 1
    assert [json.loads(line)["text"] for line in result.stdout.splitlines()] == ["Tom", ""]
    assert "energy 'picky' raised ZeroDivisionError: " in result.stderr
    assert "(FILE 'texts.txt', line 3): 'foo' [mine.py:4" in result.stderr.replace(str(tmp_path) + "/", "")
    result = mcmc_text("score", "texts.txt", "--energy", "mine.py:picky", "--on-error", "null")
    assert result.exit_code == 0
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["energy"] is None for line in lines] == [False, True, True, False, False]
    assert "ZeroDivisionError" in lines[2]["error"]
    assert "chain" not in lines[2]["error"]


def test_an_energy_that_is_wrong_for_every_text_ends_the_run(mcmc_text, short_words, tmp_path):
    write(tmp_path, "Tom\nTim\n")
    result = mcmc_text("score", "texts.txt", "--energy", "mine.py:wrong", "--on-error", "null")
    assert result.exit_code == 1
    assert "returned 1 values for 2 texts" in result.stderr


@pytest.mark.parametrize("source", ["file", "pipe"])
@pytest.mark.parametrize("content", [b"", b"\n \r\n", b"\xef\xbb\xbf"])
def test_no_text(mcmc_text, tmp_path, source, content):
    write(tmp_path, content)
    result = mcmc_text("score", "texts.txt") if source == "file" else mcmc_text("score", input=content)
    assert result.exit_code == 2
    name = "FILE 'texts.txt'" if source == "file" else "standard input"
    assert result.stderr == f"error: {name} has no text; write one a line\n"


def test_without_a_file_a_terminal_is_not_waited_for(mcmc_text, monkeypatch):
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda self: True)
    result = mcmc_text("score")
    assert result.exit_code == 2
    assert "give FILE, or - for standard input" in result.stderr


@pytest.mark.parametrize("mark", [b"\xff\xfe", b"\xfe\xff", b"\xff\xfe\x00\x00"])
def test_utf_16(mcmc_text, tmp_path, mark):
    write(tmp_path, mark + b"\x00\x80" * 9)
    for arguments in ([], ["--on-error", "null"]):
        result = mcmc_text("score", "texts.txt", *arguments)
        assert (result.exit_code, result.stdout) == (2, "")
        assert re.fullmatch(r"error: FILE 'texts.txt' is UTF-16 .*iconv -f UTF-16 -t UTF-8\)\n", result.stderr)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--model", "no-such-model"], "no-such-model"),
        (["--model", "masked-en", "--model", "masked-en"], "'masked-en' is named twice"),
        (["--device", "tpu9"], "tpu9"),
        (["--energy", "gone.py:f"], "gone.py"),
        (["--source", "Bonjour"], "--source is for seq2seq models, and none is given"),
        (["--target-lang", "fr"], "--target-lang is for seq2seq models, and none is given"),
        (["--model", "seq2seq-en"], "FILE 'texts.txt', line 1: 'seq2seq-en' is a seq2seq model"),
        (["--model", "seq2seq-en", "--source", " "], "has no tokens"),
        (["--model", "seq2seq-en", "--source", "x", "--source-lang", "xx"], "--source-lang and --target-lang of one"),
    ],
)
def test_bad_arguments(mcmc_text, tmp_path, arguments, named):
    write(tmp_path, "fine\n")
    result = mcmc_text("score", "texts.txt", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1
    assert named in result.stderr


def test_errors_in_python_name_the_index():
    with pytest.raises(InvalidInput, match=r"^texts\[1\]: the text holds the special token '<mask>' at character 1"):
        score(["fine", "<mask>"], models=["causal-en"])
    found = score(iter(["fine", 3]), models=["causal-en"])  # which cannot be read twice
    assert next(found)["text"] == "fine"
    with pytest.raises(InvalidInput, match=r"^texts\[1\]: a int, not a string"):
        next(found)
    with pytest.raises(InvalidInput, match="texts is one str; give a list"):
        score("Tom is here.")
    with pytest.raises(InvalidInput, match="texts has no text; give at least one"):
        score([])
    with pytest.raises(EnergyError, match=r"\(texts\[1\]\): 'no'"):
        list(score(["Tom is", "no"], models=["causal-en"], energies=[fails_for_short_texts]))


def fails_for_short_texts(given: list[str]) -> list[float]:
    return [1 / (len(text) - 2) for text in given]


# Sources


def test_a_source_has_the_prefix_of_the_translation_task(scored):
    lm = Seq2SeqLM.from_pretrained("seq2seq-en")
    text = "I'd like to go home."
    prefix = source_prefix(lm)
    assert prefix.startswith("<extra_")
    (line,) = scored(text, "--model", "seq2seq-en", "--source", FRENCH)
    x = lm.space.encode([text])
    assert line["energy"] == pytest.approx(float(SequenceEnergy(lm.condition_on(FRENCH, prefix=prefix))(x)), abs=1e-4)
    (bare,) = scored(text, "--model", "seq2seq-en", "--source", FRENCH, "--prefix", "")
    assert bare["energy"] == pytest.approx(float(SequenceEnergy(lm.condition_on(FRENCH))(x)), abs=1e-4)
    assert bare["energy"] != pytest.approx(line["energy"], abs=0.1)


def test_a_text_may_bring_its_source(scored):
    pairs = [("Tom is here.", "Tom est ici."), ("I'd like to go home.", None), ("Tom is here.", "Il pleut.")]
    objects = [{"text": text} | ({"source": source} if source else {}) for text, source in pairs]
    content = "\n".join(map(json.dumps, objects))
    found = scored(content, "--model", "seq2seq-en", "--model", "causal-en", "--source", FRENCH)
    for (text, source), line in zip(pairs, found, strict=True):
        (alone,) = score([text], models=["seq2seq-en", "causal-en"], source=source or FRENCH)
        assert line["terms"] == pytest.approx(alone["terms"], abs=1e-4)
        assert line.get("source") == source
    assert found[0]["terms"]["causal-en"] == pytest.approx(found[2]["terms"]["causal-en"], abs=1e-4)


def test_a_source_that_cannot_be_read_names_the_line(mcmc_text, tmp_path):
    lines = '{"text": "a", "source": "Oui."}\n{"text": "a", "source": ""}\n'
    write(tmp_path, lines)
    result = mcmc_text("score", "texts.txt", "--model", "seq2seq-en")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "line 2: --source: the text '' has no tokens" in result.stderr
    write(tmp_path, lines + '{"text": "a", "source": 3}\n')
    result = mcmc_text("score", "texts.txt", "--model", "seq2seq-en", "--on-error", "null")
    assert ["error" in json.loads(line) for line in result.stdout.splitlines()] == [False, True, True]


PAIRS = [
    ("il pleut .", "it rains ."),
    ("je voudrais rentrer à la maison .", "home"),
    ("oui", "yes , I would like that ."),
]


def test_pairs_are_scored_together_and_as_alone(scored, monkeypatch):
    pairs = [*PAIRS * 3, *((PAIRS[0][0], "it rains " + "and " * n) for n in range(20))]
    content = "\n".join(json.dumps({"source": source, "text": text}) for source, text in pairs)
    passes = []
    forward = torch.nn.Module._call_impl

    def count(module, *arguments, **named):
        passes.extend([1] if type(module).__name__.endswith("ForConditionalGeneration") else [])
        return forward(module, *arguments, **named)

    monkeypatch.setattr(torch.nn.Module, "_call_impl", count)
    found = [line["energy"] for line in scored(content, "--model", "seq2seq-en", name="pairs.jsonl")]
    reads = len(passes)
    lm = Seq2SeqLM.from_pretrained("seq2seq-en")
    probes = len(passes) - reads  # of loading
    assert reads - probes <= 6, "a pass for a batch, not for a pair"
    for (source, text), energy in zip(pairs, found, strict=True):
        alone = SequenceEnergy(lm.condition_on(source, prefix=source_prefix(lm)))(lm.space.encode([text]))
        assert energy == pytest.approx(float(alone), abs=2e-4)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"source": "oui", "target": "yes"}', 'no JSON object with a \'text\'; write {"text": "..."}, for a seq2seq'),
        ('{"source": "oui", "text": "yes"', "no JSON object with a 'text'; write"),
        ('{"source": "oui", "text": ["yes"]}', "'text' is ['yes'], not a string; write"),
        ('{"source": 3, "text": "yes"}', "'source' is 3, not a string; write"),
        (
            '{"text": "yes"}',
            "'seq2seq-en' is a seq2seq model and scores a text given a source; give --source, or lines",
        ),
    ],
)
def test_a_malformed_line_is_told_before_a_model_is_loaded(mcmc_text, tmp_path, monkeypatch, line, problem):
    monkeypatch.setattr("lm_adapters.models.language_model.load_pretrained", None)
    write(tmp_path, '{"source": "oui", "text": "yes"}\n\n' + line + "\n")
    result = mcmc_text("score", "texts.txt", "--model", "seq2seq-en")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"error: FILE 'texts.txt', line 3: {problem}")
    with pytest.raises(InvalidInput, match=r"^texts\[1\]: "):
        score([{"source": "oui", "text": "yes"}, {"source": 3, "text": "yes"}], models=["seq2seq-en"])


# What a text is scored by is what the models themselves say


@pytest.mark.parametrize("kind", [MaskedLM, CausalLM])
def test_a_text_that_fits_is_taken_and_one_token_more_is_not(kind):
    name = "masked-en" if kind is MaskedLM else "causal-en"
    lm = kind.from_pretrained(name)
    text = "dog" + " dog" * (lm.max_length - 1)
    assert lm.space.encode([text]).shape[1] == lm.max_length
    assert next(score([text], models=[name]))["energy"] > 0
    with pytest.raises(InvalidInput, match=f"has {lm.max_length + 1} tokens, {name} takes {lm.max_length}"):
        score([text + " dog"], models=[name])
