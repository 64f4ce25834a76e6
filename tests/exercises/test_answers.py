"""The reference, the stub, and every answer listed in answers.toml, tried on the exercises."""

from __future__ import annotations

import dis
import re
from collections import Counter
from types import CodeType

import pytest

from tests.exercises.conftest import checked_question

COURSES = (b"this year's course",)


def names_read(code: str) -> set[str]:
    """The names that a cell takes from elsewhere, in its functions too."""
    read, stored, pending = set(), set(), [compile(code, "<cell>", "exec")]
    while pending:
        part = pending.pop()
        pending += [constant for constant in part.co_consts if isinstance(constant, CodeType)]
        for instruction in dis.get_instructions(part):
            if instruction.opname.startswith(("LOAD_NAME", "LOAD_GLOBAL")):
                read.add(instruction.argval)
            elif instruction.opname.startswith(("STORE_NAME", "STORE_GLOBAL")):
                stored.add(instruction.argval)
    return read - stored


@pytest.mark.parametrize("key", COURSES, ids=bytes.decode)
def test_every_course_can_be_solved_and_none_for_nothing(exercise, key, runners):
    """A key draws other worlds and numbers: the reference is right in them, the stub is not."""
    runner = runners(exercise, key)
    assert runner.reference.scores == runner.built.points
    assert runner.stub().scores == dict.fromkeys(runner.built.points, 0)


def test_reference_gets_every_point(exercise, runners):
    runner = runners(exercise)
    assert runner.reference.scores == runner.built.points
    assert sum(runner.built.points.values()) == 20


def test_stub_runs_through_and_gets_nothing(exercise, runners):
    runner = runners(exercise)
    outcome = runner.stub()
    assert outcome.scores == dict.fromkeys(runner.built.points, 0)
    # The notebook as handed out fails the *public* test of each question, not only a hidden one.
    assert all(outcome.messages[question] for question in runner.built.points)


def test_wrong_answer_loses_its_question(wrong_answer, runners):
    runner, question = runners(wrong_answer.exercise), wrong_answer.question
    outcome = runner.with_answer(question, wrong_answer.code)
    assert outcome.scores == {question: 0}
    if wrong_answer.says is None:
        assert outcome.messages[question] == []  # the public test is content ...
        assert outcome.hidden_failures[question]  # ... and the hidden one is not
    else:
        (message,) = outcome.messages[question]
        assert wrong_answer.says in message
        last = message.strip().splitlines()[-1]  # the sentence that the student reads
        assert last.startswith("AssertionError: ")
        assert last.count(". ") == 0


def test_wrong_answers_lose_no_other_question(exercise, runners, answers):
    """One question right and all others wrong, for each question in turn: it keeps its points."""
    runner = runners(exercise)
    wrong = {a.question: a.code for a in reversed(answers(exercise)) if a.kind == "wrong"}
    for question, points in runner.built.points.items():
        others = {other: code for other, code in wrong.items() if other != question}
        assert runner.with_answers(others).scores == {**dict.fromkeys(wrong, 0), question: points}


def test_no_question_reads_the_answer_of_another(exercise, runners, answers):
    """Whatever an answer defines, no cell between and no test of another question uses it."""
    runner = runners(exercise)
    defined = {question: runner.wanted_names(question) for question in runner.built.points}
    used: dict[str, set[str]] = {question: set() for question in defined}
    pending: set[str] = set()
    for cell in runner.cells:
        question = checked_question(cell)
        if question is None:
            pending |= names_read(cell["source"])
        else:
            used[question] |= pending | runner.wanted_names(question)
            pending = set()
    for question, names in defined.items():
        for other, read in used.items():
            assert other == question or not names & read, (question, other, names & read)


def test_wrong_answer_that_only_a_hidden_test_notices_fails_in_another_course(
    blind_answer, runners
):
    """What the public test lets pass must fail for every key, not by luck for one."""
    runner, question = runners(blind_answer.exercise, COURSES[0]), blind_answer.question
    assert runner.with_answer(question, blind_answer.code).scores[question] == 0


NAN = """
def __to_nan(value):
    import math
    if isinstance(value, torch.Tensor):
        return value * math.nan if value.is_floating_point() else value
    if isinstance(value, bool) or not isinstance(value, (float, list, tuple, dict)):
        return value
    if isinstance(value, float):
        return math.nan
    if isinstance(value, dict):
        return {{key: __to_nan(part) for key, part in value.items()}}
    made = [__to_nan(part) for part in value]
    return type(value)(*made) if hasattr(value, "_fields") else type(value)(made)

__seen, __right = [], {name}

def {name}(*args, **kwargs):
    value = __right(*args, **kwargs)
    made = __to_nan(value)
    __seen.append(repr(made) != repr(value))
    return made
"""


def test_not_a_number_is_no_answer(exercise, runners):
    """NaN is neither near nor far: a test that asks `if abs(a - b) > tolerance` lets it pass."""
    runner, tried = runners(exercise), 0
    for question, points in runner.built.points.items():
        reference = runner.source(question)
        for name in re.findall(r"^def (\w+)\(", reference, re.MULTILINE)[-1:]:
            environment = f"import torch\n{reference}\n{NAN.format(name=name)}"
            seen = f"{environment}\n__watch.append(__seen)"
            watch: list[list[bool]] = []
            score = runner.alone(question, seen, __watch=watch)
            if any(watch[0]):  # some answers hold no numbers with a point
                assert score < points, question
                tried += 1
    assert tried


def test_other_right_answer_keeps_every_point(right_answer, runners):
    runner = runners(right_answer.exercise)
    outcome = runner.with_answer(right_answer.question, right_answer.code)
    points = runner.built.points[right_answer.question]
    assert outcome.scores == {right_answer.question: points}, outcome.messages


def test_enough_answers_are_listed(exercise, runners, answers):
    runner, listed = runners(exercise), answers(exercise)
    wrong = Counter(a.question for a in listed if a.kind == "wrong")
    right = Counter(a.question for a in listed if a.kind == "right")
    blind = {a.question for a in listed if a.kind == "wrong" and a.says is None}
    assert {a.question for a in listed} == set(runner.built.points)
    for question in runner.built.points:
        assert wrong[question] >= 3, question
        assert question in blind, f"no listed answer needs a hidden test of {question}"
        implement = runner.source(question).startswith("def ")
        assert right[question] >= (2 if implement else 1), question


def test_every_question_has_a_hidden_test(exercise, runners):
    runner = runners(exercise)
    assert not any(runner.public_only(question) for question in runner.built.points)
