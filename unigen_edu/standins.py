"""Answers in one process, tests in another.

A submission runs in a process of its own, the *answering* side. The tests run on the *asking* side,
which never executes a line of the student's: it holds stand-ins. Calling a stand-in sends the
arguments over a socket, runs the student's function over there, and brings back what it returned,
as plain data. So whatever a submission does to torch, to the tests or to the grader, it does to its
own process, which knows neither the right values nor the points.

Gradients cross the border: a tensor that requires one arrives as a leaf, and `backward` through the
result asks the answering side for its vector-Jacobian product. First derivatives only.

What the answering side sends is read as data, never unpickled. What the asking side sends may be
any object (a world, a function of a test), by cloudpickle.
"""

from __future__ import annotations

import base64
import builtins
import contextlib
import itertools
import json
import socket
import struct
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unigen_edu import declarations
from unigen_edu.errors import UnigenError

__all__ = ["Answers", "Asker", "Gone", "Late", "StandIn", "there"]

LONGEST = 64 * 2**20  # bytes of one message: no answer of an exercise is near that
DEEPEST = 100  # lists in lists
# Results that come back as themselves, so that a test can unpack them or read their fields.
RECORDS = {
    record.__name__: record
    for record in (
        declarations.Loss,
        declarations.Sample,
        declarations.Phase,
        declarations.Factor,
        declarations.Variable,
    )
}
DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32,
        torch.int16, torch.int8, torch.uint8, torch.bool, torch.complex128, torch.complex64,
    )
}  # fmt: skip


class Gone(BaseException):
    """The other process ended, or says something that is no message.

    Not an Exception: a test that expects an error must not take this for one.
    """


class Late(Gone):
    """The time of the other process is over."""


# ---- messages ----------------------------------------------------------------------------------


class _Line:
    """A socket that carries JSON messages, each with its length in front."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.deadline: float | None = None  # of the clock `time.monotonic`
        self.watch: Callable[[], None] = lambda: None  # called about four times a second
        self.heard = False  # whether the other side has said anything

    def send(self, message: object) -> None:
        data = json.dumps(message).encode()
        if len(data) > LONGEST:
            raise ValueError("an answer is too large to be looked at")
        try:
            self.connection.settimeout(None)
            self.connection.sendall(struct.pack(">I", len(data)) + data)
        except OSError as error:
            raise Gone(str(error)) from None

    def receive(self) -> Any:
        (length,) = struct.unpack(">I", self._exactly(4))
        if length > LONGEST:
            raise Gone("a message is too long")
        try:
            return json.loads(self._exactly(length))
        except (ValueError, RecursionError):
            raise Gone("a message cannot be read") from None

    def _exactly(self, count: int) -> bytes:
        parts, missing = [], count
        self.connection.settimeout(0.25)
        while missing:
            if self.deadline is not None and time.monotonic() > self.deadline:
                raise Late
            self.watch()
            try:
                part = self.connection.recv(min(missing, 2**20))
            except TimeoutError:
                continue
            except OSError as error:
                raise Gone(str(error)) from None
            if not part:
                raise Gone("the connection is closed")
            self.heard = True
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)


def _of_tensor(tensor: Tensor) -> list[Any]:
    if tensor.numel() * tensor.element_size() > LONGEST:
        raise ValueError("an answer is too large to be looked at")
    plain = tensor.detach().cpu().contiguous()
    name = str(plain.dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise TypeError(f"a tensor of type {plain.dtype} cannot be looked at")
    data = plain.reshape(-1).view(torch.uint8).numpy().tobytes() if plain.numel() else b""
    return [name, list(plain.shape), base64.b64encode(data).decode()]


def _to_tensor(name: str, shape: list[int], data: str) -> Tensor:
    dtype, raw = DTYPES[name], base64.b64decode(data)
    if not raw:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(bytearray(raw), dtype=torch.uint8).view(dtype).reshape(shape)


def _of_plain(value: Any, inner: Callable[[Any], Any]) -> Any:
    """``value`` as JSON if it is plain data, else `NotImplemented`; ``inner`` does its parts."""
    if isinstance(value, str | bytes | list | tuple | set | dict) and len(value) > LONGEST:
        raise ValueError("an answer is too large to be looked at")
    if value is None or isinstance(value, bool | str) or type(value) in (int, float):
        return value
    if value is ...:
        return ["ellipsis"]
    if isinstance(value, np.generic):
        return inner(value.item())
    if isinstance(value, np.ndarray) and value.dtype != object:
        return ["array", *_of_tensor(torch.from_numpy(np.ascontiguousarray(value)))]
    if isinstance(value, complex):
        return ["complex", value.real, value.imag]
    if isinstance(value, bytes):
        return ["bytes", base64.b64encode(value).decode()]
    if type(value).__name__ in RECORDS and type(value) is RECORDS[type(value).__name__]:
        names = getattr(value, "_fields", None) or tuple(value.__dict__)
        return ["record", type(value).__name__, [inner(getattr(value, name)) for name in names]]
    if isinstance(value, dict):
        return ["dict", [[inner(k), inner(v)] for k, v in value.items()]]
    if isinstance(value, tuple):
        return ["tuple", [inner(part) for part in value]]
    if isinstance(value, list | range):
        return ["list", [inner(part) for part in value]]
    if isinstance(value, set | frozenset):
        return ["set", [inner(part) for part in value]]
    return NotImplemented


def _to_plain(message: Any, inner: Callable[[Any], Any]) -> Any:
    if not isinstance(message, list):
        return message
    kind, *rest = message
    if kind == "ellipsis":
        return ...
    if kind == "array":
        return _to_tensor(*rest).numpy()
    if kind == "complex":
        return complex(*rest)
    if kind == "bytes":
        return base64.b64decode(rest[0])
    if kind == "record":
        return RECORDS[rest[0]](*[inner(part) for part in rest[1]])
    if kind == "dict":
        return {inner(k): inner(v) for k, v in rest[0]}
    if kind in ("tuple", "list", "set"):
        return {"tuple": tuple, "list": list, "set": set}[kind](inner(part) for part in rest[0])
    return NotImplemented


# ---- the answering side ------------------------------------------------------------------------


class Answers:
    """Serves the names of a namespace to the `Asker` at the other end of ``connection``."""

    def __init__(self, connection: socket.socket) -> None:
        self.line = _Line(connection)
        self.objects: dict[int, Any] = {}
        self.calls: dict[int, tuple[list[Tensor], list[Tensor]]] = {}
        self.numbers = itertools.count()

    def tell(self, kind: str, *data: object) -> None:
        """Send a message that is no reply: a check is reached, the notebook has ended."""
        self.line.send([kind, *data])

    def serve(self, names: Mapping[str, Any]) -> None:
        """Answer until the other side says that it has no more to ask."""
        self.objects.clear()
        self.calls.clear()
        while True:
            request = self.line.receive()
            if request[0] == "enough":
                return
            try:
                reply = ["is", self._reply(names, *request)]
                self.line.send(reply)
            except Gone:
                raise
            except BaseException as error:  # a student's function may raise anything
                self.line.send(["raise", type(error).__name__, str(error)[:500]])

    def _reply(self, names: Mapping[str, Any], verb: str, *rest: Any) -> Any:
        if verb == "has":
            return rest[0] in names
        if verb == "name":
            return self._out(names[rest[0]])
        if verb == "vjp":
            return self._vjp(*rest)
        if verb == "release":
            self.calls.pop(rest[0], None)
            return None
        leaves: list[Tensor] = []
        if verb == "call":
            args, kwargs = (self._in(part, leaves) for part in rest[1:])
            result = self.objects[rest[0]](*args, **kwargs)
        elif verb == "run":
            function, args = (self._in(part, leaves) for part in rest)
            result = function(*args)
        elif verb == "get":
            result = getattr(self.objects[rest[0]], rest[1])
        elif verb == "item":
            result = self.objects[rest[0]][self._in(rest[1], leaves)]
        elif verb == "len":
            result = len(self.objects[rest[0]])
        else:
            result = list(itertools.islice(iter(self.objects[rest[0]]), 100_000))
        return self._result(result, leaves)

    def _result(self, result: Any, leaves: list[Tensor]) -> Any:
        tracked: list[Tensor] = []
        message = self._out(result, tracked)
        number = next(self.numbers)
        if tracked:
            self.calls[number] = (leaves, tracked)
        return [number, message]

    def _vjp(self, number: int, cotangents: list[Any]) -> Any:
        leaves, tracked = self.calls[number]
        given = [None if c is None else _to_tensor(*c[1:]) for c in cotangents]
        pairs = [(t, c) for t, c in zip(tracked, given, strict=True) if c is not None]
        wanted = [leaf for leaf in leaves if leaf.requires_grad]
        found = torch.autograd.grad(
            [t for t, _ in pairs], wanted, [c for _, c in pairs],
            retain_graph=True, allow_unused=True,
        )  # fmt: skip
        return [None if g is None else ["tensor", *_of_tensor(g)] for g in found]

    def _out(self, value: Any, tracked: list[Tensor] | None = None, depth: int = 0) -> Any:
        if depth > DEEPEST:
            raise ValueError("an answer is nested too deeply")
        if isinstance(value, Tensor) and value.layout == torch.strided:
            position = None
            if value.requires_grad and tracked is not None:
                position = len(tracked)
                tracked.append(value)
            return ["tensor", *_of_tensor(value), position]
        plain = _of_plain(value, lambda part: self._out(part, tracked, depth + 1))
        if plain is not NotImplemented:
            return plain
        number = next(self.numbers)
        self.objects[number] = value
        return ["object", number, callable(value), type(value).__name__]

    def _in(self, message: Any, leaves: list[Tensor]) -> Any:
        if isinstance(message, list):
            if message[0] == "tensor":
                tensor = _to_tensor(*message[1:4])
                if message[4]:
                    leaves.append(tensor.requires_grad_())
                return tensor
            if message[0] == "object":
                return self.objects[message[1]]
            if message[0] == "pickle":
                import cloudpickle

                return cloudpickle.loads(base64.b64decode(message[1]))
        return _to_plain(message, lambda part: self._in(part, leaves))


# ---- the asking side ---------------------------------------------------------------------------


class Asker:
    """Asks the `Answers` at the other end of ``connection``; hands out stand-ins."""

    def __init__(self, connection: socket.socket) -> None:
        self.line = _Line(connection)

    def heard(self) -> list[Any]:
        """The next message that is no reply."""
        return self._checked(self.line.receive())

    def names(self, wanted: list[str]) -> dict[str, Any]:
        """The values of those of the ``wanted`` names that the notebook has defined.

        One that cannot be sent, a list without end say, counts as not defined.
        """
        found = {}
        for name in wanted:
            with contextlib.suppress(Exception):
                if self.ask("has", name) is True:
                    found[name] = self._in(self.ask("name", name))
        return found

    def enough(self) -> None:
        self.line.send(["enough"])

    def ask(self, verb: str, *data: Any) -> Any:
        """Send a request and wait for its reply; raises what the student's code raised."""
        self.line.send([verb, *data])
        reply = self._checked(self.line.receive())
        if reply[0] == "is" and len(reply) == 2:
            return reply[1]
        if reply[0] == "raise" and len(reply) == 3:
            kind = getattr(builtins, str(reply[1]), None)
            if reply[1] == "UnigenError":
                raise UnigenError(str(reply[2]))
            if isinstance(kind, type) and issubclass(kind, Exception):
                try:
                    error = kind(str(reply[2]))
                except TypeError:  # UnicodeDecodeError and the like
                    error = RuntimeError(f"{reply[1]}: {reply[2]}")
                raise error
            raise RuntimeError(f"{reply[1]}: {reply[2]}")
        raise Gone("a reply cannot be read")

    @staticmethod
    def _checked(message: Any) -> list[Any]:
        if not (isinstance(message, list) and message and isinstance(message[0], str)):
            raise Gone("a message cannot be read")
        return message

    def result(self, verb: str, *data: Any, leaves: list[Tensor] | None = None) -> Any:
        """The result of a request that runs the student's code, with its gradients attached."""
        reply = self.ask(verb, *data)
        if not (isinstance(reply, list) and len(reply) == 2):
            raise Gone("a reply cannot be read")
        number, message = reply
        tracked: list[Tensor] = []
        value = self._in(message, tracked)
        if not tracked:
            return value
        wanted = leaves or []
        if not torch.is_grad_enabled():
            return value
        # Some leaf is needed for the result to say that it has a gradient, as it does over there.
        anchor = torch.zeros((), requires_grad=True)
        attached = iter(_Attach.apply(self, number, len(wanted), anchor, *wanted, *tracked))
        return self._in(message, [], attached)

    def _in(self, message: Any, tracked: list[Tensor] | None = None, attached: Any = None) -> Any:
        try:
            return self._read(message, tracked, attached, 0)
        except Exception as error:  # shapes that do not fit the bytes, missing parts, bad names
            raise Gone(f"a reply cannot be read: {error}") from None

    def _read(self, message: Any, tracked: Any, attached: Any, depth: int) -> Any:
        if depth > 2 * DEEPEST:
            raise ValueError("nested too deeply")
        if isinstance(message, list):
            if message[0] == "tensor":
                if attached is not None and message[4] is not None:
                    return next(attached)
                tensor = _to_tensor(*message[1:4])
                if tracked is not None and message[4] is not None:
                    tracked.append(tensor)
                return tensor
            if message[0] == "object":
                kind = CallableStandIn if message[2] else StandIn
                return kind(self, int(message[1]), str(message[3]))
        value = _to_plain(message, lambda part: self._read(part, tracked, attached, depth + 1))
        if value is NotImplemented:
            raise ValueError("of no known kind")
        return value

    def out(self, value: Any, leaves: list[Tensor]) -> Any:
        """An argument, as a message; tensors that require a gradient are added to ``leaves``."""
        if isinstance(value, StandIn):
            return ["object", value._number]
        if isinstance(value, Tensor) and value.layout == torch.strided:
            follow = value.requires_grad and torch.is_grad_enabled()
            if follow:
                leaves.append(value)
            return ["tensor", *_of_tensor(value), follow]
        plain = _of_plain(value, lambda part: self.out(part, leaves))
        if plain is not NotImplemented:
            return plain
        import cloudpickle

        return ["pickle", base64.b64encode(cloudpickle.dumps(value)).decode()]


class _Attach(torch.autograd.Function):
    """Gives results the gradients that they have on the answering side."""

    @staticmethod
    def forward(ctx: Any, asker: Asker, number: int, count: int, *tensors: Tensor) -> Any:
        results = tensors[1 + count :]
        ctx.asker, ctx.number, ctx.leaves, ctx.results = asker, number, count, len(results)
        ctx.set_materialize_grads(False)
        return tuple(result.clone() for result in results)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *cotangents: Tensor | None) -> Any:
        sent = [None if c is None else ["tensor", *_of_tensor(c)] for c in cotangents]
        found = ctx.asker.ask("vjp", ctx.number, sent)
        if not isinstance(found, list) or len(found) != ctx.leaves:
            raise Gone("a gradient cannot be read")
        try:
            gradients = [None if g is None else _to_tensor(*g[1:]) for g in found]
        except Exception as error:
            raise Gone(f"a gradient cannot be read: {error}") from None
        return (None, None, None, None, *gradients, *([None] * ctx.results))


class StandIn:
    """An object of the answering side."""

    def __init__(self, asker: Asker, number: int, kind: str) -> None:
        self._asker, self._number, self._kind = asker, number, kind

    def __repr__(self) -> str:
        return f"<{self._kind} of the student's>"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._asker.result("get", self._number, name)

    def __getitem__(self, key: Any) -> Any:
        return self._asker.result("item", self._number, self._asker.out(key, []))

    def __len__(self) -> int:
        length = self._asker.result("len", self._number)
        if type(length) is not int:
            raise Gone("a length is no number")
        return length

    def __iter__(self) -> Any:
        return iter(self._asker.result("list", self._number))


class CallableStandIn(StandIn):
    """A function, class or other callable of the answering side."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        leaves: list[Tensor] = []
        given = [self._asker.out(args, leaves), self._asker.out(kwargs, leaves)]
        return self._asker.result("call", self._number, *given, leaves=leaves)


def there(function: Callable[..., Any], *args: Any) -> Any:
    """``function(*args)``, run where the student's objects among ``args`` are.

    For a test that hands such an object to a library, say a model to `fit`. Where they are in this
    process it is a plain call. ``function`` must not know the right answer: it runs beside the
    student's code, and what it returns is data like any other answer.
    """
    for arg in args:
        if isinstance(arg, StandIn):
            leaves: list[Tensor] = []
            asker = arg._asker
            sent = [asker.out(function, leaves), asker.out(args, leaves)]
            return asker.result("run", *sent, leaves=leaves)
    return function(*args)
