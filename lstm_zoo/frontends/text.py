"""Texts to token ids, as TensorFlow operations: the same cuts in Python, in a SavedModel and in MediaPipe."""

from __future__ import annotations

import reprlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import tensorflow as tf

from lstm_zoo.errors import InvalidInputError, MissingExtraError

PADDING, START, UNKNOWN = 0, 1, 2  # ids
SPECIAL_TOKENS = ("<PAD>", "<START>", "<UNKNOWN>")  # MediaPipe looks for these very names

# Letters, digits and marks make words; an apostrophe does where it stands between two of them. All else stands between
# words, HTML tags too. It is RE2's dialect, which TensorFlow and MediaPipe share: without lookaround. Emoji and all
# else beyond the basic plane stand between words, as do the surrogates that Java's own UTF-8 makes of them; variation
# selectors (marks, says Unicode) go with the emoji before them.
_WORD, _APOSTROPHE, _TAG = r"\pL\pN\pM", "'’", r"</?[a-zA-Z][^<>]*>"
_NEVER_WORD = rf"{_TAG}|[\x{{FE00}}-\x{{FE0F}}\x{{10000}}-\x{{10FFFF}}]"
DELIMITER = (
    rf"[{_APOSTROPHE}]*(?:{_NEVER_WORD}|[^{_WORD}{_APOSTROPHE}])(?:{_NEVER_WORD}|[^{_WORD}])*"
    rf"|^[{_APOSTROPHE}]+|[{_APOSTROPHE}]+$"
)
_TEXTS_AT_ONCE = 1024


# === Tokenizers ===


class Tokenizer(Protocol):
    """From texts to ids: as TensorFlow operations, so that a ``tf.data`` pipeline or a SavedModel can hold it."""

    vocabulary: tuple[str, ...]

    def __call__(self, texts: Any) -> tf.RaggedTensor:
        """UTF-8 strings ``[batch]`` to int32 ids ``[batch, (tokens)]``, each row beginning with ``<START>``."""
        ...

    def tokens(self, text: str) -> list[str]:
        """What each of the ids of ``text`` stands for, for people to read: as many, ``<START>`` among them."""
        ...


def tokenizer(kind: str, vocabulary: Sequence[str]) -> Tokenizer:
    """The tokenizer ``kind`` ("words" or "subwords") with ``vocabulary``.

    Raises:
        InvalidInputError: there is no such kind, or the vocabulary is none.
        MissingExtraError: subwords need tensorflow-text.
    """
    kinds: dict[str, type[WordTokenizer | SubwordTokenizer]] = {"words": WordTokenizer, "subwords": SubwordTokenizer}
    if kind not in kinds:
        raise InvalidInputError(f"tokenizer: got {kind!r}, expected {' or '.join(map(repr, kinds))}")
    return kinds[kind](vocabulary)


class WordTokenizer:
    """Cuts texts into words and numbers them, as MediaPipe's TextClassifier does with the same vocabulary.

    Like it, this keeps case and composition of letters (``é`` in one or two characters) as they are. They differ in
    NUL, which here stands between words while MediaPipe ends a text there, and can differ in letters so new that one of
    the two libraries does not know them (Unicode 16 and later).

    Args:
        vocabulary: the words of each id, separated by spaces: ``"great Great GREAT"`` are one word in three spellings.
            The first three are :data:`SPECIAL_TOKENS`.

    Raises:
        InvalidInputError: see :func:`spellings`.
    """

    def __init__(self, vocabulary: Sequence[str]):
        self.vocabulary = tuple(vocabulary)
        ids = spellings(self.vocabulary)
        numbered = tf.lookup.KeyValueTensorInitializer(tf.constant([*ids]), tf.constant([*ids.values()], tf.int32))
        self._table = tf.lookup.StaticHashTable(numbered, UNKNOWN)

    def __call__(self, texts: Any) -> tf.RaggedTensor:
        """See :class:`Tokenizer`."""
        return _after_start(tf.ragged.map_flat_values(self._table.lookup, split_words(texts)))

    def tokens(self, text: str) -> list[str]:
        """See :class:`Tokenizer`; words are those of the text, also where the vocabulary does not have them."""
        return [SPECIAL_TOKENS[START], *(word.decode() for word in split_words(as_texts(text)).flat_values.numpy())]


class SubwordTokenizer:
    """Cuts texts into pieces of words: tensorflow-text's ``FastBertNormalizer`` and ``FastWordpieceTokenizer``.

    Texts lose case and accents (Unicode's NFKD), and are cut at white space and around each punctuation character; a
    word becomes the longest pieces that the vocabulary has, or ``<UNKNOWN>`` where it lacks one. Both operations
    convert to TFLite, for runtimes that carry tensorflow-text's operators.

    Args:
        vocabulary: the pieces, one for each id; those that continue a word begin with ``##``. The first three are
            :data:`SPECIAL_TOKENS`.

    Raises:
        InvalidInputError: see :func:`spellings`.
        MissingExtraError: tensorflow-text is not installed.
    """

    def __init__(self, vocabulary: Sequence[str]):
        tensorflow_text = _tensorflow_text()
        self.vocabulary = tuple(vocabulary)
        if len(spellings(self.vocabulary)) > len(self.vocabulary):
            raise InvalidInputError("vocabulary: expected one subword on each line, without spaces in it")
        self._normalizer = tensorflow_text.FastBertNormalizer(lower_case_nfd_strip_accents=True)
        self._wordpiece = tensorflow_text.FastWordpieceTokenizer(
            list(self.vocabulary), token_out_type=tf.int32, unknown_token=SPECIAL_TOKENS[UNKNOWN]
        )

    def __call__(self, texts: Any) -> tf.RaggedTensor:
        """See :class:`Tokenizer`."""
        return _after_start(self.pieces(texts))

    def pieces(self, texts: Any) -> tf.RaggedTensor:
        """As a call, without ``<START>``."""
        return self._wordpiece.tokenize(self._normalizer.normalize(texts))

    def tokens(self, text: str) -> list[str]:
        """See :class:`Tokenizer`."""
        return [self.vocabulary[number] for number in self(as_texts(text)).flat_values.numpy()]


def split_words(texts: Any) -> tf.RaggedTensor:
    """Strings ``[batch]`` to the words between what matches :data:`DELIMITER`, ``[batch, (words)]``."""
    return tf.strings.split(tf.strings.regex_replace(texts, DELIMITER, " "))  # at white space, without empty words


def _after_start(ids: tf.RaggedTensor) -> tf.RaggedTensor:
    return tf.concat([tf.fill([ids.nrows(), 1], START), ids], axis=1)


def _tensorflow_text() -> Any:
    try:
        import tensorflow_text
    except (ImportError, tf.errors.OpError):  # or it was built for another version of TensorFlow
        purpose = f"a subword tokenizer with TensorFlow {tf.__version__}"
        raise MissingExtraError("tensorflow-text", "text", purpose) from None
    return tensorflow_text


# === Vocabularies ===


def spellings(vocabulary: Sequence[str]) -> dict[str, int]:
    """The id of each spelling: ``["<PAD>", ..., "great Great"]`` has ``{"<PAD>": 0, ..., "great": 3, "Great": 3}``.

    Raises:
        InvalidInputError: the special tokens are not the first three; a line has no spelling, or other white space than
            single spaces between spellings; a spelling is there twice.
    """
    if tuple(vocabulary[: len(SPECIAL_TOKENS)]) != SPECIAL_TOKENS:
        raise InvalidInputError(
            f"vocabulary: expected {', '.join(SPECIAL_TOKENS)} as the first three tokens (ids 0, 1, 2), "
            f"got {', '.join(map(repr, vocabulary[:3])) or 'none'}"
        )
    ids: dict[str, int] = {}
    for number, line in enumerate(vocabulary):
        if not line or line.split() != line.split(" "):
            raise InvalidInputError(
                f"vocabulary: token {number} is {line!r}, expected one spelling or several with single spaces between"
            )
        for spelling in line.split(" "):
            if spelling in ids:
                raise InvalidInputError(
                    f"vocabulary: {spelling!r} is there more than once (ids {ids[spelling]} and {number}), "
                    "expected each spelling once"
                )
            ids[spelling] = number
    return ids


def build_vocabulary(texts: Iterable[str], size: int, *, spelling: int = 2) -> tuple[str, ...]:
    """The ``size`` words that are in most texts, without regard to case, the special tokens among them.

    Args:
        texts: training texts.
        size: ids in all; there are fewer where the texts have fewer words.
        spelling: a word's capitalised spellings share its id where at least so many texts have them.

    Raises:
        InvalidInputError: ``size`` leaves no place for a word, or ``texts`` are none.
    """
    _check_size(size)
    counts: Counter[bytes] = Counter()  # texts with the word
    for batch in _batches(as_texts(list(texts))):
        for words in split_words(batch).to_list():
            counts.update(set(words))
    forms: dict[str, Counter[str]] = {}
    for form, count in ((word.decode(), count) for word, count in counts.items()):
        forms.setdefault(form.lower(), Counter())[form] = count
    by_frequency = sorted(forms, key=lambda word: (-forms[word].total(), word))
    lines = []
    for word in by_frequency[: size - len(SPECIAL_TOKENS)]:
        others = sorted(form for form, count in forms[word].items() if count >= spelling and form != word)
        lines.append(" ".join([word, *others]))
    return (*SPECIAL_TOKENS, *lines)


def build_subword_vocabulary(texts: Iterable[str], size: int) -> tuple[str, ...]:
    """About ``size`` subwords, learned by tensorflow-text's own tool, the special tokens among them.

    The tool stays within 5 % below ``size`` where it can: it takes up each character of the texts, alone and within
    words, and no subword that is rare in few texts.

    Raises:
        InvalidInputError: ``size`` leaves no place for a subword, or ``texts`` are none or all empty.
        MissingExtraError: tensorflow-text is not installed.
    """
    _check_size(size)
    _tensorflow_text()
    from tensorflow_text.tools.wordpiece_vocab import bert_vocab_from_dataset

    texts = as_texts(list(texts))
    if not any(map(str.strip, texts)):
        raise InvalidInputError("texts: all are empty, expected some with words")
    batches = tf.data.Dataset.from_tensor_slices(texts).batch(_TEXTS_AT_ONCE)
    learn = bert_vocab_from_dataset.bert_vocab_from_dataset
    return tuple(learn(batches, size, list(SPECIAL_TOKENS), bert_tokenizer_params={"lower_case": True}))


def _check_size(size: int) -> None:
    if size <= len(SPECIAL_TOKENS):
        raise InvalidInputError(f"size: got {size}, expected at least 4: three ids are those of the special tokens")


def _batches(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    return (texts[start : start + _TEXTS_AT_ONCE] for start in range(0, len(texts), _TEXTS_AT_ONCE))


# === What people hand over ===


def as_texts(texts: Any) -> list[str]:
    """A text, or a list, tuple, array, Series or eager tensor of texts, as a list of ``str``.

    Bytes are taken for UTF-8. Any text will do: also an empty one, one of control characters, one of 10 MB.

    Raises:
        InvalidInputError: there is no text; one is not a string, not UTF-8, or has half of a surrogate pair.
    """
    array = texts.numpy() if isinstance(texts, tf.Tensor) and tf.executing_eagerly() else texts
    values = array.tolist() if hasattr(array, "tolist") else array  # NumPy's and pandas'
    if isinstance(values, str | bytes):
        values = [values]
    if not isinstance(values, list | tuple):
        raise InvalidInputError(f"texts: got {reprlib.repr(texts)}, expected a text or a list of texts")
    if not values:
        raise InvalidInputError("texts: got none, expected at least one; an empty text is ''")
    return [_as_text(value, position) for position, value in enumerate(values)]


def _as_text(value: Any, position: int) -> str:
    where = f"texts: the text at position {position}"
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise InvalidInputError(
                f"{where} is not UTF-8 (byte {error.object[error.start]:#04x} at {error.start}); "
                "decode it yourself, such as with value.decode('latin-1')"
            ) from None
    if not isinstance(value, str):
        raise InvalidInputError(
            f"{where} is {reprlib.repr(value)} ({type(value).__name__}), expected a str; "
            "leave out what is missing and flatten lists of lists"
        )
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidInputError(
            f"{where} has half of a surrogate pair, {value[error.start]!r} at {error.start}; "
            "read it again as UTF-8, or use value.encode('utf-8', 'replace').decode()"
        ) from None
    return str(value)  # NumPy's strings are of a class of their own
