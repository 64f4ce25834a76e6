"""Texts that the package writes itself: English names of numbers, from 0 to 9999.

    417 -> four hundred and seventeen        4007 -> four thousand and seven

The names follow from the rule in `name`, so no text is shipped, nothing is under anybody's licence
(the list is dedicated to the public domain, CC0), and everything about the corpus is known exactly:
which sequences are names (`read`), how many there are, and the entropy of one drawn uniformly,
log 10000 = 9.21 nats. Samples of a model can therefore be judged without another network.

A token is a whole word, written without hyphens. A name has one to seven of them; `END` fills the
rest up to `LENGTH`, so "end follows end" is part of what a model has to learn.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from unigen_edu.errors import UnigenError

__all__ = ["ALPHABET", "COUNT", "END", "LENGTH", "decode", "encode", "name", "number_names", "read"]

END = ""
# fmt: off
_UNITS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
    "nineteen",
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
# fmt: on

ALPHABET: tuple[str, ...] = (END, *_UNITS, *_TENS, "hundred", "thousand", "and")
_TOKEN = {word: token for token, word in enumerate(ALPHABET)}

COUNT = 10_000  # names of 0, ..., 9999
LENGTH = 8  # tokens: "nine thousand nine hundred and ninety nine" and an end
TEST = 2_000  # names that are held out


def name(number: int) -> str:
    """The English name of a whole number from 0 to 9999, with "and" before the tens and units.

    Raises:
        UnigenError: a number outside this range.
    """
    if not 0 <= number < COUNT:
        raise UnigenError(f"There is no name for {number} here: choose from 0 to {COUNT - 1}.")
    if number == 0:
        return _UNITS[0]
    thousands, hundreds, rest = number // 1000, number // 100 % 10, number % 100
    words = []
    if thousands:
        words += [_UNITS[thousands], "thousand"]
    if hundreds:
        words += [_UNITS[hundreds], "hundred"]
    if words and rest:
        words += ["and"]
    if rest >= 20:
        words += [_TENS[rest // 10 - 2]]
        rest %= 10
    if rest:
        words += [_UNITS[rest]]
    return " ".join(words)


@cache
def _number_of() -> dict[str, int]:
    return {name(number): number for number in range(COUNT)}


def encode(texts: Sequence[str]) -> Tensor:
    """Texts as tokens, filled up with ends: (len(texts), LENGTH) int64.

    Raises:
        UnigenError: a word outside the alphabet, or a text of more than LENGTH words.
    """
    rows = []
    for text in texts:
        words = text.split()
        strange = [word for word in words if word not in _TOKEN]
        if strange:
            raise UnigenError(f"'{strange[0]}' is no word of a number's name: see ALPHABET.")
        if len(words) > LENGTH:
            raise UnigenError(f"'{text}' has {len(words)} words: a sequence holds {LENGTH}.")
        rows.append([_TOKEN[word] for word in words] + [0] * (LENGTH - len(words)))
    return torch.tensor(rows, dtype=torch.int64).reshape(-1, LENGTH)


def decode(tokens: Tensor) -> list[str]:
    """Tokens (n, T) as texts: the words up to the first end.

    A sequence with a word *after* an end is no text. It is shown whole, with "_" for its ends, and
    `read` does not take it for a name.
    """
    return [_decode(row) for row in tokens.tolist()]


def _decode(row: list[int]) -> str:
    length = row.index(0) if 0 in row else len(row)
    if any(row[length:]):
        return " ".join(ALPHABET[token] or "_" for token in row)
    return " ".join(ALPHABET[token] for token in row[:length])


def read(tokens: Tensor) -> Tensor:
    """The number that each sequence names, -1 if it names none: (n, LENGTH) -> (n,) int64.

    `(read(x) >= 0).double().mean()` is the validity of samples, and `read(x).unique()` tells which
    numbers they reach.
    """
    return torch.tensor([_number_of().get(text, -1) for text in decode(tokens)], dtype=torch.int64)


def number_names(split: str = "train") -> tuple[Tensor, tuple[str, ...]]:
    """The tokens of one split, (8000, LENGTH) or (2000, LENGTH) int64, and the alphabet.

    Held out are the 2000 numbers n with the smallest 7919 (n + 1) mod 10007: a rule without chance
    that still takes a fifth of the numbers with any given digit in any given place.

    Raises:
        UnigenError: a split that is neither "train" nor "test".
    """
    if split not in ("train", "test"):
        raise UnigenError(f"There is no split {split!r}; choose 'train' or 'test'.")
    order = sorted(range(COUNT), key=lambda n: 7919 * (n + 1) % 10007)
    numbers = sorted(order[:TEST] if split == "test" else order[TEST:])
    return encode([name(number) for number in numbers]), ALPHABET
