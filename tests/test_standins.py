"""Stand-ins behave as the objects they stand for, and nothing that is sent back is trusted."""

from __future__ import annotations

import base64
import json
import math
import pickle
import socket
import struct
import threading
import time

import numpy as np
import pytest
import torch

from unigen_edu.declarations import Batch, Loss
from unigen_edu.errors import UnigenError
from unigen_edu.exact import GANWorld
from unigen_edu.standins import Answers, Asker, CallableStandIn, Gone, Late, StandIn, there

float64 = torch.float64


def quadratic(x, y, power=2):
    return {"value": (x**power * y).sum(), "parts": (x + y, 3)}


class Thing:
    def __init__(self, scale):
        self.scale = torch.tensor(scale, dtype=float64)
        self.items = [1, 2, 3]

    def scaled(self, x):
        return self.scale * x

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return self.items[index]

    def __iter__(self):
        return iter(self.items)


def endless():
    found = []
    for _ in range(100_000):
        found = [found]
    return found


def refuse(message):
    raise ValueError(message)


NAMES = {
    "quadratic": quadratic,
    "Thing": Thing,
    "refuse": refuse,
    "endless": endless,
    "huge": lambda: torch.zeros(2**28),
    "echo": lambda *values: values[0] if len(values) == 1 else values,
    "detached": lambda x: x.detach() ** 2,
    "second_only": lambda x, y: y**2,
    "apply": lambda f, x: f(x),
    "objective": lambda world: world.generator_objective().item(),
    "unigen_error": lambda: (_ for _ in ()).throw(UnigenError("one sentence.")),
    "number": 3,
    "table": {"a": torch.eye(2), (1, 2): [None, True]},
}


@pytest.fixture
def asker():
    """An asker whose answers come from a thread of this process."""
    ours, theirs = socket.socketpair()
    answers = Answers(theirs)
    thread = threading.Thread(target=answers.serve, args=(NAMES,), daemon=True)
    thread.start()
    asker = Asker(ours)
    asker.line.deadline = time.monotonic() + 30
    yield asker
    asker.enough()
    thread.join(5)
    ours.close()
    theirs.close()


def ask(asker, name):
    return asker.names([name])[name]


PLAIN = [
    None, True, 3, -1.5, math.inf, "text ü", b"bytes", ..., 2 + 1j, [1, [2.0, "a"]], (1,), (),
    {"a": 1, 2: (3, None)}, {1, 2}, torch.Size([2, 3]), range(3), 10**30,
]  # fmt: skip


@pytest.mark.parametrize("value", PLAIN, ids=repr)
def test_plain_values_come_back_as_they_were(asker, value):
    back = ask(asker, "echo")(value)
    expected = {torch.Size: tuple, range: list}.get(type(value), type(value))(value) if isinstance(
        value, torch.Size | range
    ) else value  # fmt: skip
    assert back == expected
    assert type(back) is type(expected)


def test_nan_stays_nan(asker):
    assert math.isnan(ask(asker, "echo")(math.nan))


@pytest.mark.parametrize(
    "dtype",
    [torch.float64, torch.float32, torch.bfloat16, torch.int64, torch.bool, torch.complex64],
)
@pytest.mark.parametrize("shape", [(), (3,), (2, 0), (2, 3)])
def test_tensors_come_back_exactly(asker, dtype, shape):
    value = torch.arange(6)[: math.prod(shape)].reshape(shape).to(dtype)
    back = ask(asker, "echo")(value)
    assert back.dtype == dtype
    assert back.shape == value.shape
    assert torch.equal(back, value)
    transposed = torch.arange(6).reshape(2, 3).T
    assert torch.equal(ask(asker, "echo")(transposed), transposed)


def test_arrays_and_their_numbers(asker):
    value = np.arange(6.0).reshape(2, 3)
    back = ask(asker, "echo")(value)
    assert isinstance(back, np.ndarray)
    np.testing.assert_array_equal(back, value)
    assert ask(asker, "echo")(np.float64(0.5)) == 0.5


def test_records_can_be_unpacked(asker):
    loss = ask(asker, "echo")(Loss(torch.tensor(1.0), {"a": torch.tensor(2.0)}))
    value, terms = loss
    assert (value.item(), terms["a"].item(), loss.value.item()) == (1.0, 2.0, 1.0)


def test_global_values_and_names_that_are_missing(asker):
    found = asker.names(["number", "table", "nothing"])
    assert found.keys() == {"number", "table"}
    assert found["number"] == 3
    assert torch.equal(found["table"]["a"], torch.eye(2))
    assert found["table"][1, 2] == [None, True]


def test_gradients_are_those_of_the_function_itself(asker):
    x = torch.tensor([1.0, 2.0], dtype=float64, requires_grad=True)
    y = torch.tensor([3.0, 5.0], dtype=float64, requires_grad=True)
    weights = torch.tensor([0.3, -0.7], dtype=float64)
    gradients = []
    for function in (quadratic, ask(asker, "quadratic")):
        result = function(x, y, power=3)
        assert result["parts"][1] == 3
        mixed = result["value"] ** 2 + (weights * result["parts"][0]).sum()
        gradients.append((mixed.item(), *torch.autograd.grad(mixed, (x, y))))
    (value, *theirs), (value_here, *here) = gradients
    assert value == value_here
    for left, right in zip(theirs, here, strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=1e-12)


def test_gradient_through_a_leaf_that_is_passed_twice_or_inside_a_list(asker):
    x = torch.tensor([2.0], dtype=float64, requires_grad=True)
    total = ask(asker, "quadratic")(x, x)["value"]
    assert torch.autograd.grad(total, x)[0].item() == pytest.approx(12.0)
    (a, b) = ask(asker, "echo")([x, 2.0])
    assert b == 2.0
    assert torch.autograd.grad((3 * a).sum(), x)[0].item() == 3.0


def test_what_has_no_gradient_there_has_none_here(asker):
    x = torch.ones(2, dtype=float64, requires_grad=True)
    assert not ask(asker, "detached")(x).requires_grad
    with torch.no_grad():
        assert not ask(asker, "quadratic")(x, x)["value"].requires_grad
    y = torch.ones(2, dtype=float64, requires_grad=True)
    result = ask(asker, "second_only")(x, y).sum()
    with pytest.raises(RuntimeError, match="appears to not have been used"):
        torch.autograd.grad(result, x, retain_graph=True)
    assert torch.autograd.grad(result, (x, y), allow_unused=True)[0] is None


def test_errors_are_raised_here_with_their_kind(asker):
    with pytest.raises(ValueError, match="no such thing"):
        ask(asker, "refuse")("no such thing")
    with pytest.raises(UnigenError, match="one sentence"):
        ask(asker, "unigen_error")()
    with pytest.raises(TypeError):
        ask(asker, "quadratic")(1)


def test_functions_and_worlds_can_be_arguments(asker):
    factor = torch.tensor(4.0)
    assert ask(asker, "apply")(lambda x: factor * x, torch.tensor(2.0)).item() == 8.0
    world = GANWorld.random(1)
    assert ask(asker, "objective")(world) == world.generator_objective().item()
    batch = ask(asker, "apply")(lambda b: b.x.sum(), Batch(torch.ones(3)))
    assert batch.item() == 3.0


def test_classes_and_objects(asker):
    thing = ask(asker, "Thing")(2.0)
    assert isinstance(thing, StandIn)
    assert not isinstance(thing, CallableStandIn)
    assert not callable(thing)
    x = torch.tensor([1.0, 3.0], dtype=float64, requires_grad=True)
    torch.testing.assert_close(
        torch.autograd.grad(thing.scaled(x).sum(), x)[0], torch.full((2,), 2.0, dtype=float64)
    )
    assert thing.scale.item() == 2.0
    assert (len(thing), thing[1], list(thing)) == (3, 2, [1, 2, 3])
    with pytest.raises(AttributeError, match="nothing"):
        _ = thing.nothing
    with pytest.raises(IndexError):
        _ = thing[7]
    assert ask(asker, "echo")(thing, 1)[1] == 1


def test_there_runs_beside_the_object(asker):
    thing = ask(asker, "Thing")(5.0)
    assert there(lambda t, x: type(t).__name__ + str(x), thing, 3) == "Thing3"
    assert there(lambda t, x: type(t).__name__ + str(x), Thing(1.0), 3) == "Thing3"


def test_what_is_too_deep_or_too_large_is_an_error_there(asker):
    with pytest.raises(ValueError, match="nested too deeply"):
        ask(asker, "endless")()
    with pytest.raises(ValueError, match="too large"):
        ask(asker, "huge")()


# ---- a process that lies -------------------------------------------------------------------------


class Executed:
    """Unpickling one of these is noticed."""

    count = 0

    def __reduce__(self):
        return (Executed._run, ())

    @staticmethod
    def _run():
        Executed.count += 1


def framed(data):
    return struct.pack(">I", len(data)) + data


PICKLED = base64.b64encode(pickle.dumps(Executed())).decode()
LIES = {
    "no JSON": framed(b"{"),
    "no list": framed(b"3"),
    "an empty list": framed(b"[]"),
    "of no kind": framed(b'["was", 1]'),
    "a value of no kind": framed(b'["is", ["spell", 1]]'),
    "a pickle": framed(json.dumps(["is", ["pickle", PICKLED]]).encode()),
    "a tensor without bytes": framed(b'["is", ["tensor", "float64", [3], "AAAA", null]]'),
    "a tensor of negative shape": framed(b'["is", ["tensor", "float64", [-1, 0], "", null]]'),
    "a tensor of no type": framed(b'["is", ["tensor", "os.system", [], "", null]]'),
    "a record of no kind": framed(b'["is", ["record", "Popen", [1]]]'),
    "a list as a key": framed(b'["is", ["dict", [[["list", []], 1]]]]'),
    "brackets": framed(b'["is", ' + b'["list", [' * 500 + b"]]" * 500 + b"]"),
    "too many brackets": framed(b"[" * 50_000),
    "longer than allowed": struct.pack(">I", 2**31),
    "an end": b"",
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_a_reply_that_cannot_be_read_ends_the_conversation(lie):
    ours, theirs = socket.socketpair()
    asker = Asker(ours)
    asker.line.deadline = time.monotonic() + 10
    theirs.sendall(lie)
    theirs.shutdown(socket.SHUT_WR)
    with pytest.raises(Gone):
        asker._in(asker.ask("name", "x"))
    assert Executed.count == 0
    ours.close()
    theirs.close()


def test_a_reply_that_does_not_come_is_late():
    ours, theirs = socket.socketpair()
    asker = Asker(ours)
    watched = []
    asker.line.watch = lambda: watched.append(1)
    asker.line.deadline = time.monotonic() + 0.6
    with pytest.raises(Late):
        asker.ask("name", "x")
    assert watched
    ours.close()
    theirs.close()


def test_a_test_cannot_take_the_end_for_an_error_of_the_answer():
    """Tests catch `Exception` where an answer must raise; the end of the process is none."""
    assert not issubclass(Gone, Exception)
