"""What the embedded models know is said where they are used, and a text in another language is remarked on."""

from __future__ import annotations

import warnings

import pytest

from experiments.declaration.wording import Remark
from experiments.setup.languages import in_words, remark_on_language, remark_on_source, remark_on_spelling
from experiments.setup.scorers import source_prefix, translation_pair
from experiments.translate import translate
from lm_adapters import CausalLM, MaskedLM, Seq2SeqLM, SequenceEnergy
from lm_adapters.pretrained import embedded_names, embedded_path, known_languages
from tests.experiments.tiny_models import tiny_models
from tests.lm_adapters.models.test_languages import chosen

ENGLISH = [
    "I left my keys in the car.",
    "Where did you put the letter that came this morning?",
    "She could not remember the name of the street.",
    "The old house by the river was sold last year.",
]
FRENCH = [
    "J'ai oublié mes clés dans la voiture.",
    "Où as-tu mis la lettre qui est arrivée ce matin ?",
    "Elle ne se souvenait plus du nom de la rue.",
    "La vieille maison au bord de la rivière a été vendue l'année dernière.",
]
GERMAN = [
    "Ich habe meine Schlüssel im Auto vergessen.",
    "Wohin hast du den Brief gelegt, der heute Morgen gekommen ist?",
    "Sie konnte sich nicht an den Namen der Straße erinnern.",
    "Das alte Haus am Fluss wurde letztes Jahr verkauft.",
]
CHINESE = ["我把钥匙忘在车里了。", "今天早上来的那封信你放在哪里了?"]


@pytest.fixture(scope="module")
def causal() -> CausalLM:
    return CausalLM.from_pretrained("causal-en")


@pytest.fixture(scope="module")
def seq2seq() -> Seq2SeqLM:
    return Seq2SeqLM.from_pretrained("seq2seq-en")


def remarks(function, *arguments) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        function(*arguments)
    return [str(warning.message) for warning in caught if issubclass(warning.category, Remark)]


@pytest.mark.parametrize("kind", ["causal", "embedded"])
def test_another_language_than_english_is_remarked_on(kind, request):
    lm = request.getfixturevalue(kind)
    name = "causal-en" if kind == "causal" else "masked-en"
    for text in ENGLISH:
        assert remarks(remark_on_language, "text", [text], lm) == []
    assert sum(len(remarks(remark_on_language, "text", [text], lm)) for text in GERMAN) >= 3
    for text in FRENCH:
        (line,) = remarks(remark_on_language, "text", [text], lm)
        assert line.startswith(f"{name} knows English and finds text strange (")
        assert line.endswith("give model and scorer that know it")


def test_signs_and_foreign_names_are_not_judged(causal):
    assert remarks(remark_on_language, "text", ["I am \U0001f600 here\tnow, in 北京."], causal) == []


def test_words_in_another_script(embedded):
    assert remarks(remark_on_spelling, ["music", "café", "U.S."], embedded) == []
    (line,) = remarks(remark_on_spelling, ["music", "音乐"], embedded)
    assert line.startswith("masked-en knows English and spells '音乐' in pieces of characters; for Chinese give")


def test_a_word_or_two_are_not_judged(causal):
    assert remarks(remark_on_language, "text", ["Guten"], causal) == []


def test_of_other_models_nothing_is_said(embedded):
    tiny = tiny_models().load("causal")
    assert remarks(remark_on_language, "text", GERMAN, tiny) == []
    assert len(remarks(remark_on_language, "text", GERMAN, tiny, embedded)) == 1
    assert known_languages("bert-base-german-cased") == known_languages("") == []


def source_remarks(model: Seq2SeqLM, text: str, lm: MaskedLM) -> list[str]:
    decoder = model.condition_on(text, prefix=source_prefix(model))
    x = model.space.encode([model.translate(text, prefix=source_prefix(model))])
    nats = float(SequenceEnergy(decoder)(x)) / (x.shape[1] + 1)
    return remarks(remark_on_source, model, translation_pair(model), text, nats, lm)


def test_a_source_in_another_language_than_french(seq2seq, embedded):
    for text in FRENCH:
        assert source_remarks(seq2seq, text, embedded) == []
    for text in CHINESE + GERMAN:
        (line,) = source_remarks(seq2seq, text, embedded)
        assert line.startswith("seq2seq-en reads French, and not text, which it finds strange")
    for text in ENGLISH:
        (line,) = source_remarks(seq2seq, text, embedded)
        assert line.startswith("seq2seq-en reads French, and not text, which looks like English;")
    nllb = chosen("nllb")
    assert remarks(remark_on_source, nllb, nllb.languages, GERMAN[0], 9.0, embedded) == []


@pytest.mark.filterwarnings("always")
def test_translate_says_what_it_translates(mcmc_text):
    result = mcmc_text("translate", GERMAN[0], "--chains", 2, "--steps", 3)
    assert result.exit_code == 0
    assert result.stderr.splitlines()[0].startswith("warning: seq2seq-en reads French, and not TEXT, which it finds")
    assert "seq2seq-en (French to English)" in " ".join(result.stdout.split())


def test_translate_takes_languages_of_the_model(seq2seq, embedded):
    assert ("fr", "en") in seq2seq.translations
    small = {"chains": 1, "steps": 2, "warmup": 0, "model": embedded}
    one, other = (translate(FRENCH[0], **small, **pair) for pair in ({}, {"source_lang": "fr", "target_lang": "en"}))
    assert one.best() == other.best()
    with pytest.raises(ValueError, match=r"translates .*fr to en.*; give source_lang and target_lang of one"):
        translate(FRENCH[0], **small, source_lang="xx")
    with pytest.raises(ValueError, match="scorer is a loaded model; give source_lang when it is made"):
        translate(FRENCH[0], **small, scorer=seq2seq, source_lang="fr")


def test_paraphrase_of_characters_that_the_model_has_only_pieces_of(mcmc_text):
    result = mcmc_text("paraphrase", "音乐很好听。")
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert "--model knows English" in result.stderr
    assert "another --model" in result.stderr
    assert "Ġ" not in result.stderr


def test_cards_list_the_languages(mcmc_text):
    lines = mcmc_text("models").stdout.splitlines()
    for name in embedded_names():
        codes = known_languages(name)
        assert known_languages(str(embedded_path(name))) == codes
        assert ("zh" if name.endswith("-zh") else "en") in codes
        assert f" {', '.join(codes)} " in next(line for line in lines if line.startswith(name))
    assert {"en", "fr"} <= set(known_languages("seq2seq-en"))
    assert in_words(["en"]) == "English"
    assert in_words(["en", "fr", "xx"]) == "English, French and xx"
