"""The corpus of number names, against hand-written names and a grammar that is written here."""

from __future__ import annotations

import re

import pytest
import torch

from unigen_edu import corpora
from unigen_edu.errors import UnigenError

ONES = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
DIGIT = {word: value for value, word in enumerate(ONES, 1)}
TEEN = {
    "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15,
    "sixteen": 16, "seventeen": 17, "eighteen": 18, "nineteen": 19,
}  # fmt: skip
TENS = {
    "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80,
    "ninety": 90,
}  # fmt: skip


def parsed(text: str) -> int | None:
    """The number that `text` names, by reading it from left to right."""
    if text == "zero":
        return 0
    one_digit = "|".join(DIGIT)
    below_100 = f"(?:{'|'.join(TEEN)}|(?:{'|'.join(TENS)})(?: (?:{one_digit}))?|{one_digit})"
    found = re.fullmatch(
        f"(?:({one_digit}) thousand)?(?: ?({one_digit}) hundred)?(?:( and )?({below_100}))?", text
    )
    if not text or found is None or text.startswith((" ", "and")):
        return None
    thousands, hundreds, linked, rest = found.groups()
    if bool(linked) != bool(rest and (thousands or hundreds)):
        return None
    total = 1000 * DIGIT.get(thousands or "", 0) + 100 * DIGIT.get(hundreds or "", 0)
    return total + sum({**DIGIT, **TEEN, **TENS}[word] for word in (rest or "").split())


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "zero"),
        (7, "seven"),
        (10, "ten"),
        (13, "thirteen"),
        (20, "twenty"),
        (42, "forty two"),
        (100, "one hundred"),
        (417, "four hundred and seventeen"),
        (1000, "one thousand"),
        (1100, "one thousand one hundred"),
        (4007, "four thousand and seven"),
        (9999, "nine thousand nine hundred and ninety nine"),
    ],
)
def test_names_by_hand(number, text):
    assert corpora.name(number) == text
    assert parsed(text) == number


def test_every_name_is_read_back_by_another_grammar():
    assert [parsed(corpora.name(n)) for n in range(corpora.COUNT)] == list(range(10_000))


def test_tokens_and_back():
    texts = [corpora.name(n) for n in range(corpora.COUNT)]
    tokens = corpora.encode(texts)
    assert tokens.shape == (10_000, corpora.LENGTH)
    assert tokens.dtype == torch.int64
    assert corpora.decode(tokens) == texts
    assert torch.equal(corpora.read(tokens), torch.arange(10_000))
    # The longest name leaves room for one end; the others are filled up with ends.
    assert (tokens[:, -1] == 0).all()
    assert max(len(text.split()) for text in texts) == corpora.LENGTH - 1
    ended = tokens == 0
    assert (ended[:, 1:] >= ended[:, :-1]).all()


def test_the_alphabet_has_every_word_once_and_no_other():
    words = {word for n in range(corpora.COUNT) for word in corpora.name(n).split()}
    assert set(corpora.ALPHABET) == words | {corpora.END}
    assert len(set(corpora.ALPHABET)) == len(corpora.ALPHABET) == 32
    assert corpora.ALPHABET[0] == corpora.END


@pytest.mark.parametrize(
    "text",
    [
        "",
        "and",
        "hundred",
        "one hundred seven",  # no "and"
        "seven and",
        "forty and two",
        "zero hundred",
        "one hundred and zero",
        "twenty ten",
        "two one",
        "one hundred one thousand",
        "one thousand two thousand",
        "ten hundred",
    ],
)
def test_what_is_no_name(text):
    assert parsed(text) is None
    assert corpora.read(corpora.encode([text])).tolist() == [-1]


def test_a_word_after_an_end_is_no_name():
    tokens = corpora.encode(["seven", "seven"])
    tokens[1, 3] = tokens[0, 0]
    assert corpora.read(tokens).tolist() == [7, -1]
    assert corpora.decode(tokens) == ["seven", "seven _ _ seven _ _ _ _"]
    tokens[1] = torch.tensor([0, *tokens[0, :-1].tolist()])
    assert corpora.read(tokens).tolist() == [7, -1]


def test_random_tokens_name_next_to_nothing():
    tokens = torch.randint(0, 32, (20_000, 8), generator=torch.Generator().manual_seed(0))
    assert (corpora.read(tokens) >= 0).sum() <= 2


def test_the_two_splits_are_all_numbers_once():
    (train, alphabet), (test, same) = (corpora.number_names(s) for s in ("train", "test"))
    assert alphabet == same == corpora.ALPHABET
    assert (train.shape, test.shape) == ((8000, 8), (2000, 8))
    numbers = torch.cat([corpora.read(train), corpora.read(test)])
    assert torch.equal(numbers.sort().values, torch.arange(10_000))


def test_the_held_out_names_are_like_the_others():
    """About a fifth of the numbers with any digit in any place, and with any two digits."""
    test = corpora.read(corpora.number_names("test")[0])
    for place in (1, 10, 100, 1000):
        share = torch.bincount(test // place % 10, minlength=10) / 1000
        assert share.min() > 0.17
        assert share.max() < 0.23
        for other in (1, 10, 100, 1000):
            if other < place:
                pairs = 10 * (test // place % 10) + test // other % 10
                share = torch.bincount(pairs, minlength=100) / 100
                assert share.min() > 0.05
                assert share.max() < 0.4
    # Every word can be learnt: it occurs in training.
    train, alphabet = corpora.number_names("train")
    assert len(train.unique()) == len(alphabet)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: corpora.name(10_000), "no name for 10000"),
        (lambda: corpora.name(-1), "choose from 0 to 9999"),
        (lambda: corpora.encode(["forty-two"]), "'forty-two' is no word"),
        (lambda: corpora.encode([" ".join(["one"] * 9)]), "9 words: a sequence holds 8"),
        (lambda: corpora.number_names("validation"), "no split 'validation'"),
    ],
)
def test_bad_input_is_one_sentence(call, words):
    with pytest.raises(UnigenError, match=words):
        call()


def test_nothing_in_is_nothing_out():
    assert corpora.encode([]).shape == (0, 8)
    assert corpora.decode(torch.zeros(0, 8, dtype=torch.int64)) == []
    assert corpora.read(torch.zeros(0, 8, dtype=torch.int64)).shape == (0,)
