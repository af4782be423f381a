"""Texts become the ids that a tokenizer written character by character finds, or are refused by name."""

import os
import re
import subprocess
import sys
import unicodedata

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from lstm_zoo.errors import InvalidInputError, MissingExtraError
from lstm_zoo.frontends import text
from lstm_zoo.frontends.text import (
    SPECIAL_TOKENS,
    SubwordTokenizer,
    WordTokenizer,
    as_texts,
    build_subword_vocabulary,
    build_vocabulary,
    spellings,
    split_words,
    tokenizer,
)

VOCABULARY = (*SPECIAL_TOKENS, "good Good GOOD", "don't don’t", "film", "é", "naïve", "不", "3", "b")
WORDS = WordTokenizer(VOCABULARY)
SUBWORDS = SubwordTokenizer(
    (*SPECIAL_TOKENS, "good", "film", "un", "##know", "##n", "##s", "!", "don", "'", "t", "cafe")
)
# What reviews are made of, and anything else that this Python's Unicode knows.
PARTS = st.sampled_from(
    [*"'’<>/ab 3_.\n\té😀❤\ufe0f", "<br />", "</b>", "<a href='x'>", "good", "Don't", "naïve", "e\u0301"]
)
ANYTHING = st.characters(exclude_categories=["Cs", "Cn"], max_codepoint=0xFFFF) | st.sampled_from("😀𝐠𝄞\U0001f9d1")
TEXTS = st.lists(PARTS | ANYTHING, max_size=30).map("".join)


def words_of(sentence):
    """The words of a text by the rules, character by character."""
    letters = []  # each character, or None for a place between words
    position = 0
    while position < len(sentence):
        end = end_of_tag(sentence, position)
        if end:
            letters += [None]
            position = end
            continue
        character = sentence[position]
        letters.append(character if in_word(character) or character in "'’" else None)
        position += 1
    words, word = [], ""
    for character in [*letters, None]:
        if character is None:
            words += [word.strip("'’")]
            word = ""
        else:
            word += character
    return [word for word in words if word]


def in_word(character):
    emoji_style = "\ufe00" <= character <= "\ufe0f"
    return unicodedata.category(character)[0] in "LNM" and character < "\U00010000" and not emoji_style


def end_of_tag(sentence, start):
    """Where the HTML tag that begins at ``start`` ends; 0 where none begins."""
    name = start + (2 if sentence[start : start + 2] == "</" else 1)
    if sentence[start] != "<" or not (sentence[name : name + 1].isascii() and sentence[name : name + 1].isalpha()):
        return 0
    for position in range(name, len(sentence)):
        if sentence[position] in "<>":
            return position + 1 if sentence[position] == ">" else 0
    return 0


def ids_of(sentence):
    known = {spelling: number for number, line in enumerate(VOCABULARY) for spelling in line.split()}
    return [1, *(known.get(word, 2) for word in words_of(sentence))]


# === Words ===


@pytest.mark.parametrize(
    ("sentence", "words"),
    [
        ("", []),
        (" \t\r\n\u3000", []),
        ("'", []),
        ("''’", []),
        ("I don't, 'really'.", ["I", "don't", "really"]),
        ("'tis rock 'n' roll's", ["tis", "rock", "n", "roll's"]),
        ("the boys' club''s", ["the", "boys", "club''s"]),
        ("it’s ‘fine’", ["it’s", "fine"]),
        ("great<br /><br />film", ["great", "film"]),
        ("<i>it's</i> <B CLASS='x y'>ok</B>", ["it's", "ok"]),
        ("3 < 4 > 2, a<b", ["3", "4", "2", "a", "b"]),
        ("<3 it <unclosed tag", ["3", "it", "unclosed", "tag"]),
        ("snake_case well-known 9/10 U.S.A.", ["snake", "case", "well", "known", "9", "10", "U", "S", "A"]),
        ("naïve nai\u0308ve", ["naïve", "nai\u0308ve"]),
        ("great😀film ❤️👍🏽 ok", ["great", "film", "ok"]),
        ("שלום עולם، مرحبا؟", ["שלום", "עולם", "مرحبا"]),
        ("不错。很好!", ["不错", "很好"]),
        ("a\0b\x01c\x7fd\x85e\u200bf\ufeffg\u2028h", list("abcdefgh")),
    ],
)
def test_words_are_cut_as_people_read_them(sentence, words):
    assert [word.decode() for word in split_words([sentence]).to_list()[0]] == words
    assert words_of(sentence) == words


@settings(max_examples=300, deadline=None)
@given(sentence=TEXTS)
def test_words_are_those_of_the_reference(sentence):
    assert [word.decode() for word in split_words([sentence]).to_list()[0]] == words_of(sentence)
    assert WORDS([sentence]).to_list() == [ids_of(sentence)]


@settings(max_examples=100, deadline=None)
@given(sentences=st.lists(TEXTS, min_size=1, max_size=5))
def test_each_text_is_tokenized_by_itself(sentences):
    for tokenize in (WORDS, SUBWORDS):
        together = tokenize(sentences)
        assert together.dtype == tf.int32
        assert together.to_list() == [tokenize([sentence]).to_list()[0] for sentence in sentences]
        assert all(row[0] == 1 and 0 not in row and row.count(1) == 1 for row in together.to_list())


@settings(max_examples=100, deadline=None)
@given(first=TEXTS, second=TEXTS, between=st.sampled_from([". ", "\n", " - ", "<br />", " 😀 "]))
def test_ids_of_two_texts_follow_each_other(first, second, between):
    first = first.replace("<", "")  # which could open a tag that the second text closes
    left, right, both = WORDS([first, second, first + between + second]).to_list()
    assert both == left + right[1:]


def test_spellings_share_an_id_and_other_ones_are_unknown():
    assert WORDS(["good Good GOOD gOOD don't don’t nai\u0308ve"]).to_list() == [[1, 3, 3, 3, 2, 4, 4, 2]]


@pytest.mark.parametrize("tokenize", [WORDS, SUBWORDS], ids=["words", "subwords"])
@pytest.mark.parametrize("sentence", ["Good film, don't!", "", "zzz 😀", "<br />unknowns café", "<START> <PAD>"])
def test_tokens_are_as_many_as_ids(tokenize, sentence):
    tokens = tokenize.tokens(sentence)
    assert tokens[0] == "<START>"
    assert len(tokens) == len(tokenize([sentence]).to_list()[0])


def test_tokens_are_the_words_of_the_text_even_unknown_ones():
    assert WORDS.tokens("<b>GOOD</b> Qwerty!") == ["<START>", "GOOD", "Qwerty"]


@pytest.mark.parametrize("tokenize", [WORDS, SUBWORDS], ids=["words", "subwords"])
@pytest.mark.parametrize("part", ["good film ", "a", "don't'", "<b ", "😀", "\0"])
def test_ten_megabytes_are_one_text(tokenize, part):
    sentence = part * (10_000_000 // len(part.encode()))
    (long, short) = tokenize([sentence, "good"]).to_list()
    some = tokenize([part * 50]).to_list()[0]  # more is but more of the same
    assert short == [1, 3]
    assert long[:40] == some[:40]
    assert len(long) >= len(some)


def test_tokenizer_runs_in_a_graph():
    dataset = tf.data.Dataset.from_tensor_slices(["good film", "film"]).batch(2)
    for tokenize in (WORDS, SUBWORDS):
        (batch,) = dataset.map(tokenize)
        assert batch.to_list() == tokenize(["good film", "film"]).to_list()


# === Subwords ===


def test_subwords_are_the_longest_that_there_are():
    # Case and accents are gone; a word with a piece that is missing is unknown as a whole.
    sentences = ["Unknowns UNKNOWN!", "café cafe\u0301 CAFE", "don't", "xfilm films", "", "\0\x01 \n"]
    pieces = [["un", "##know", "##n", "##s", "un", "##know", "##n", "!"], ["cafe"] * 3, ["don", "'", "t"]]
    pieces += [["<UNKNOWN>", "film", "##s"], [], []]
    assert [SUBWORDS.tokens(sentence)[1:] for sentence in sentences] == pieces
    numbers = [[1, *map(SUBWORDS.vocabulary.index, row)] for row in pieces]
    assert SUBWORDS(sentences).to_list() == numbers


def test_special_tokens_in_a_text_are_nothing_special():
    for tokenize in (WORDS, SUBWORDS):
        (row,) = tokenize(["<PAD> <START> <UNKNOWN> [UNK]"]).to_list()
        assert not {0, 1} & set(row[1:])


def test_subword_vocabulary_is_learned():
    reviews = ["A great movie, it's great!", "Great acting", "The greatest café<br />", "[UNK] greater"] * 10
    vocabulary = build_subword_vocabulary(reviews, 90)
    assert vocabulary[:3] == SPECIAL_TOKENS
    assert "great" in vocabulary
    assert "[UNK]" not in vocabulary  # a reserved token elsewhere, and none of ours
    assert len(set(vocabulary)) == len(vocabulary) <= 90
    assert build_subword_vocabulary(iter(reviews), 90) == vocabulary
    tokenize = SubwordTokenizer(vocabulary)
    assert all(2 not in row for row in tokenize(reviews).to_list())  # it has all their characters
    assert tokenize.tokens("GREAT")[1:] == ["great"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: build_subword_vocabulary([" \n", ""], 90), "texts: all are empty, expected some with words"),
        (lambda: build_subword_vocabulary(["a"], 3), "size: got 3, expected at least 4"),
        (lambda: build_vocabulary(["a"], 3), "size: got 3, expected at least 4"),
        (lambda: build_vocabulary([], 10), "texts: got none, expected at least one"),
        (lambda: SubwordTokenizer((*SPECIAL_TOKENS, "good Good")), "vocabulary: expected one subword on each line"),
        (lambda: WordTokenizer(("good", "bad")), "vocabulary: expected <PAD>, <START>, <UNKNOWN> as the first three"),
        (lambda: WordTokenizer((*SPECIAL_TOKENS, "a", "b a")), "vocabulary: 'a' is there more than once (ids 3 and 4)"),
        (lambda: WordTokenizer((*SPECIAL_TOKENS, "a\tb")), "vocabulary: token 3 is 'a\\tb', expected one spelling or"),
        (lambda: tokenizer("letters", VOCABULARY), "tokenizer: got 'letters', expected 'words' or 'subwords'"),
    ],
)
def test_what_makes_no_tokenizer_is_refused(make, message):
    with pytest.raises(InvalidInputError, match=re.escape(message)):
        make()


def test_tokenizer_is_made_by_its_kind():
    assert isinstance(tokenizer("words", VOCABULARY), WordTokenizer)
    assert isinstance(tokenizer("subwords", SUBWORDS.vocabulary), SubwordTokenizer)


def test_only_subwords_need_tensorflow_text(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_text", None)
    assert tokenizer("words", VOCABULARY)(["good"]).to_list() == [[1, 3]]
    for make in (lambda: tokenizer("subwords", SUBWORDS.vocabulary), lambda: build_subword_vocabulary(["a"], 9)):
        with pytest.raises(MissingExtraError, match=re.escape("tensorflow-text: pip install 'lstm-zoo[text]'")):
            make()
    code = "import sys, lstm_zoo.frontends.text; assert 'tensorflow_text' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], env=os.environ).returncode == 0


# === Vocabularies ===


def test_vocabulary_has_the_words_that_most_texts_have():
    reviews = ["Bad bad bad BAD film", "a film!", "A Film<br />GREAT great", "great Great film?", "Great"]
    # film is in 4 texts (once as Film), great in 3 (twice as Great, once as GREAT), a in 2 (once as A), bad in 1.
    assert build_vocabulary(reviews, 7) == (*SPECIAL_TOKENS, "great Great", "film", "bad", "a")
    assert build_vocabulary(reviews, 5) == (*SPECIAL_TOKENS, "great Great", "film")
    assert build_vocabulary(reviews, 7, spelling=1)[3:5] == ("great GREAT Great", "film Film")
    assert build_vocabulary(iter(reviews), 100) == build_vocabulary(reviews[::-1], 7)


@settings(max_examples=50, deadline=None)
@given(reviews=st.lists(TEXTS, min_size=1, max_size=8), size=st.integers(4, 40))
def test_every_vocabulary_is_one(reviews, size):
    vocabulary = build_vocabulary(reviews, size, spelling=1)
    assert len(vocabulary) <= size
    ids = spellings(vocabulary)
    everything = {word for review in reviews for word in words_of(review)}
    if len(vocabulary) < size:
        assert everything <= set(ids)
        assert all(2 not in row for row in WordTokenizer(vocabulary)(reviews).to_list())


def test_vocabulary_counts_texts_of_all_batches():
    reviews = [f"film w{number}" for number in range(text._TEXTS_AT_ONCE + 5)] + ["rare rare rare", "two", "two"]
    assert build_vocabulary(reviews, 5)[3:] == ("film", "two")


# === What people hand over ===


class Series:
    """As pandas has it: no sequence, but with ``tolist``."""

    def __init__(self, values):
        self.tolist = lambda: values


@pytest.mark.parametrize(
    "texts",
    [
        ["good", "é\0😀"],
        ("good", "é\0😀"),
        ["good", "é\0😀".encode()],
        np.array(["good", "é\0😀"]),
        np.array(["good", "é\0😀"], dtype=object),
        np.array([b"good", "é\0😀".encode()]),
        tf.constant(["good", "é\0😀"]),
        Series(["good", "é\0😀"]),
    ],
    ids=["list", "tuple", "bytes", "array", "objects", "array of bytes", "tensor", "series"],
)
def test_texts_are_taken_as_libraries_have_them(texts):
    result = as_texts(texts)
    assert result == ["good", "é\0😀"]
    assert {type(each) for each in result} == {str}


@pytest.mark.parametrize("single", ["", "good", b"good", np.str_("good"), np.array("good"), tf.constant("good")])
def test_one_text_is_a_list_of_one(single):
    assert as_texts(single) == ["" if isinstance(single, str) and single == "" else "good"]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (None, "texts: got None, expected a text or a list of texts"),
        (3, "texts: got 3, expected a text or a list of texts"),
        ({"a": 1}, "texts: got {'a': 1}, expected a text or a list of texts"),
        ((each for each in "ab"), "expected a text or a list of texts"),
        ([], "texts: got none, expected at least one; an empty text is ''"),
        (np.array([], dtype=str), "texts: got none, expected at least one"),
        (["a", None], "texts: the text at position 1 is None (NoneType), expected a str; leave out what is missing"),
        (["a", float("nan")], "texts: the text at position 1 is nan (float), expected a str"),
        (np.array([0.5]), "texts: the text at position 0 is 0.5 (float), expected a str"),
        (tf.constant([7]), "texts: the text at position 0 is 7 (int), expected a str"),
        ([["a", "b"]], "texts: the text at position 0 is ['a', 'b'] (list), expected a str"),
        (np.array([["a"], ["b"]]), "texts: the text at position 0 is ['a'] (list), expected a str"),
        (["a", "b", "ab\ud83d"], "texts: the text at position 2 has half of a surrogate pair, '\\ud83d' at 2"),
        (b"caf\xe9", "texts: the text at position 0 is not UTF-8 (byte 0xe9 at 3); decode it yourself"),
        (["a", b"\xff\xfea\x00"], "texts: the text at position 1 is not UTF-8 (byte 0xff at 0)"),
    ],
)
def test_what_is_no_text_is_refused(texts, message):
    with pytest.raises(InvalidInputError, match=re.escape(message)):
        as_texts(texts)


def test_messages_stay_short():
    with pytest.raises(InvalidInputError) as refused:
        as_texts([["a" * 1_000_000] * 1_000])
    assert len(str(refused.value)) < 400
