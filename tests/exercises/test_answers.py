"""The reference, the stub, and every answer listed in answers.toml, tried on the exercises."""

from __future__ import annotations

from collections import Counter

import pytest

COURSES = (b"last year's course", b"this year's course")


@pytest.mark.parametrize("key", COURSES, ids=bytes.decode)
def test_every_course_can_be_solved_and_none_for_nothing(exercise, key, runners):
    """A key draws other worlds and numbers: the same reference is right in them, the stub is not."""
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


def test_wrong_answer_loses_its_question_and_no_other(wrong_answer, runners):
    runner, question = runners(wrong_answer.exercise), wrong_answer.question
    outcome = runner.with_answer(question, wrong_answer.code)
    assert outcome.scores == {**runner.built.points, question: 0}
    if wrong_answer.says is None:
        assert outcome.messages[question] == []  # the public test is content ...
        assert outcome.hidden_failures[question]  # ... and the hidden one is not
    else:
        (message,) = outcome.messages[question]
        assert wrong_answer.says in message
        last = message.strip().splitlines()[-1]  # the sentence that the student reads
        assert last.startswith("AssertionError: ")
        assert last.count(". ") == 0


def test_wrong_answer_that_only_a_hidden_test_notices_fails_in_another_course(
    blind_answer, runners
):
    """What the public test lets pass must fail for every key, not by luck for one."""
    runner, question = runners(blind_answer.exercise, COURSES[0]), blind_answer.question
    assert runner.with_answer(question, blind_answer.code).scores[question] == 0


def test_other_right_answer_keeps_every_point(right_answer, runners):
    runner = runners(right_answer.exercise)
    outcome = runner.with_answer(right_answer.question, right_answer.code)
    assert outcome.scores == runner.built.points, outcome.messages[right_answer.question]


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
