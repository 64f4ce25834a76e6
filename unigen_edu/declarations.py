"""What a model says about itself.

The unified view describes every system of the book by three things: random variables, a few
conditional distributions given by networks, and *phases*, each of which moves some of the networks
to reduce one divergence in one direction. A `Model` declares exactly these. The training loop, the
unification table, the drawing of the graphical model and the command line are made from the
declarations; nothing about them is typed twice.

A loss is written with `expect`, never with a bare `mean`. In training the samples have equal weight
and `expect` is the mean over the batch. In a finite world a table stands in for a network, returns
*every* state together with its probability, and the same line of code becomes the exact
expectation. So the code that trains is the code that the equations are checked against.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from unigen_edu.errors import UnigenError

if TYPE_CHECKING:  # data.py is not needed to declare a model
    from unigen_edu.data import Dataset

T = TypeVar("T")

Role = Literal["generative", "inference", "adversarial"]

P_Y = 0.5  # p(y=0) = p(y=1): each of the two sides of a game is seen equally often in a step


@dataclass(frozen=True)
class Variable:
    """A random variable of the model: a node of its graphical model."""

    name: str  # "x"
    tex: str  # r"\mathbf{x}"
    meaning: str  # "image"
    observed: bool


@dataclass(frozen=True)
class Factor:
    """One conditional distribution of the model: the arrows into one node."""

    tex: str  # r"p_\theta(\mathbf{x} \mid \mathbf{z})"
    child: str  # name of a Variable
    parents: tuple[str, ...]
    role: Role
    network: str | None  # submodule that computes it; None when it is fixed


@dataclass(frozen=True)
class Phase:
    """One step of training: which networks move, and which divergence that reduces."""

    name: str
    moves: tuple[str, ...]  # names of submodules
    reduces: str  # TeX without dollars
    direction: str  # in words: the slot in which the moved distribution stands
    equation: str  # label of the equation in the book


class Loss(NamedTuple):
    """A scalar to descend, and the detached numbers worth recording beside it."""

    value: Tensor  # ()
    terms: dict[str, Tensor]  # each ()


class Sample(NamedTuple):
    """Draws (`weight is None`) or all states with their probabilities (`weight` sums to one)."""

    value: Tensor
    weight: Tensor | None = None


def expect(value: Tensor, weight: Tensor | None = None, dim: int | None = None) -> Tensor:
    """Expectation of `value`: the mean over draws, or the weighted sum over enumerated states.

    Args:
        value: any shape.
        weight: None for draws of equal weight; otherwise probabilities that broadcast to `value`
            and sum to one over the axes that are reduced.
        dim: the axis to reduce; None reduces all of them.
    """
    if weight is None:
        return value.mean() if dim is None else value.mean(dim)
    weighted = weight * value
    return weighted.sum() if dim is None else weighted.sum(dim)


def constant(sample: Sample) -> Sample:
    """The same draws, or states and probabilities, as numbers through which no gradient flows."""
    return Sample(sample.value.detach(), None if sample.weight is None else sample.weight.detach())


class _Differentiated(torch.autograd.Function):
    """A number whose gradients are known already."""

    @staticmethod
    def forward(value: Tensor, inputs: int, *inputs_and_gradients: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, ctx.inputs, *tensors = inputs
        ctx.save_for_backward(*tensors[ctx.inputs :])

    @staticmethod
    @once_differentiable  # the gradients are numbers: their own gradients are not known
    def backward(ctx: Any, *of_output: Tensor) -> tuple[Tensor | None, ...]:
        (slope,) = of_output
        gradients = (slope * gradient for gradient in ctx.saved_tensors)
        return None, None, *gradients, *[None] * ctx.inputs


def from_both_sides(
    cost: Callable[[Sample], Tensor], made: Sample, reader: nn.Module
) -> tuple[Tensor, Tensor]:
    """`cost(made)` twice: with its gradient in the samples, and with that in their reader.

    For two phases in a row, one of what makes the samples and one of what reads them. Between the
    two the reader has not moved, and the second phase does not see the move of the first. So one
    pass through the reader and back serves both: the numbers are those of two passes.

    Not for second derivatives, nor inside `torch.func.grad`. In a stack of models (`torch.vmap`)
    there are two passes.

    Args:
        cost: of the samples, a scalar in which nothing but them and the reader is to be moved. It
            makes no random draws.
        made: the samples.
        reader: a network that `cost` uses.

    Returns:
        The cost for the phase that moves what made the samples, and for that of the reader.
    """
    sources = [t for t in made if t is not None and t.requires_grad]
    parameters = [p for p in reader.parameters() if p.requires_grad]
    if not torch.is_grad_enabled() or not sources or not parameters:
        return cost(made), cost(constant(made))
    copies = [None if t is None else t.detach().requires_grad_(t.requires_grad) for t in made]
    value = cost(Sample(*copies))  # type: ignore[arg-type]
    leaves = [copy for copy in copies if copy is not None and copy.requires_grad]
    gradients = torch.autograd.grad(value, [*leaves, *parameters], materialize_grads=True)

    def moved_by(inputs: Sequence[Tensor], found: Sequence[Tensor]) -> Tensor:
        out: Tensor = _Differentiated.apply(value.detach(), len(inputs), *inputs, *found)
        return out

    n = len(sources)
    return moved_by(sources, gradients[:n]), moved_by(parameters, gradients[n:])


class Batch:
    """What one training step sees. The phases of a step share one batch.

    Attributes:
        x: data, (B, C, H, W) in [0, 1] for images, (B, 2) for points in the plane, (B, T) int64
            for sequences of tokens.
        label: (B,) int64 class labels, or None.
        weight: None for draws; (B,) probabilities when `x` enumerates a finite world.
        other: a second, independent batch, or None: of the other domain, or of the labelled images
            when `x` has no labels.
    """

    def __init__(
        self,
        x: Tensor,
        label: Tensor | None = None,
        weight: Tensor | None = None,
        other: Batch | None = None,
    ):
        self.x = x
        self.label = label
        self.weight = weight
        self.other = other
        self._shared: dict[str, Any] = {}

    def __len__(self) -> int:
        return self.x.shape[0]

    def once(self, name: str, make: Callable[[], T]) -> T:
        """The value of `make()`, computed by the first phase of the step that asks for it.

        The generator's draw serves the discriminator (detached) and then the generator: its
        parameters have not moved in between, so the graph is still valid and one forward pass
        is saved.
        """
        if name not in self._shared:
            self._shared[name] = make()
        return self._shared[name]

    def one_of_both(self, name: str, side: int, make: Callable[[], tuple[T, T]]) -> T:
        """One side, 0 or 1, of the pair `make()`; the other is kept until it is asked for, once.

        For `from_both_sides`: the phase that comes second takes what the first has left. Who asks
        for the same side again gets it made anew, with the parameters as they are then.
        """
        kept: T | None = self._shared.pop(f"{name}, side {side}", None)
        if kept is not None:
            return kept
        pair = make()
        if torch.is_grad_enabled():
            self._shared[f"{name}, side {1 - side}"] = pair[1 - side]
        return pair[side]


def expect_codes(value: Tensor, weight: Tensor | None, batch: Batch) -> Tensor:
    """E_{p_data(x)} E_{q(z|x)} of `value` (d, B), `weight` (d, B) being that of z given x."""
    return expect(expect(value, weight, dim=0), batch.weight)


# What a model may need of its data, and how to get it.
NEEDS = {
    "label": "labels, such as those of 'mnist-mini'",
    "other": "a second domain, such as in 'mnist-mini+mnist-mini/slanted'",
    "other label": "some labelled images beside those without, such as in 'mnist-mini+100'",
    "sequence": "sequences of tokens, such as 'number-names'",
}


class Model(nn.Module):
    """Base of every system of the book. A subclass declares itself and defines `<phase>_loss`.

    Subclasses pass their constructor arguments to `super().__init__`, which keeps them as
    `config`: with the name, they are all that is needed to build the model again from a checkpoint.
    """

    name: ClassVar[str]  # as typed on the command line: "iwgan"
    title: ClassVar[str]  # "Importance weighted GAN"
    paper: ClassVar[str]  # citation key in the bibliography
    chapter: ClassVar[str]  # stem of the chapter's notebook
    variables: ClassVar[tuple[Variable, ...]]
    factors: ClassVar[tuple[Factor, ...]]
    phases: ClassVar[tuple[Phase, ...]]
    needs: ClassVar[frozenset[str]] = frozenset()  # of the data: see NEEDS
    default_data: ClassVar[str] = "mnist-mini"  # what `unigen train` uses unless told otherwise

    def __init__(self, **config: Any):
        super().__init__()
        self.config = config
        self.shape: tuple[int, ...] = tuple(config["shape"])

    def loss(self, phase: str, batch: Batch) -> Loss:
        """The loss that `phase` descends on `batch`; the sign is always "smaller is better"."""
        return getattr(self, f"{phase}_loss")(batch)

    def sample(self, n: int) -> Tensor:
        """`n` draws from the generative model: (n, *shape), without gradient."""
        raise UnigenError(f"The model '{self.name}' has no sampler.")

    def picture(self, test_set: Dataset, n: int) -> Tensor:
        """What `unigen sample` draws, (about n, *shape): draws from the model.

        A model that makes nothing from noise shows what it makes of images of `test_set`, its
        own two domains if it needs two.
        """
        return self.sample(n)

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @classmethod
    def is_game(cls) -> bool:
        """Whether two phases move different networks in opposite interests."""
        return any(factor.role == "adversarial" for factor in cls.factors) and len(cls.phases) > 1


def check_count(name: str, value: object, why: str) -> None:
    """Raise one sentence unless the option `name` is a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UnigenError(f"{name} is {value!r}, but {why}: give a whole number of at least 1.")


def check_strength(strength: object, what: str) -> None:
    """Raise one sentence unless `strength` is a finite number of at least 0."""
    number = isinstance(strength, int | float) and not isinstance(strength, bool)
    if not (number and 0.0 <= strength < math.inf):  # type: ignore[operator]
        raise UnigenError(
            f"strength is {strength!r}, but it weighs {what} in the loss: give a number of at "
            "least 0."
        )


def check_choice(what: str, value: object, choices: Sequence[str]) -> None:
    """Raise one sentence that names the valid ones unless `value` is one of `choices`."""
    if value not in choices:
        raise UnigenError(f"There is no {what} '{value}'; choose one of: {', '.join(choices)}.")


def check_likelihood(likelihood: object, shape: Sequence[int]) -> None:
    """Raise one sentence unless data of this shape can have this likelihood p(x|z)."""
    check_choice("likelihood", likelihood, ("bernoulli", "gaussian"))
    if likelihood == "bernoulli" and len(shape) == 1:
        raise UnigenError(
            "A Bernoulli likelihood needs values in [0, 1]: use likelihood='gaussian' for points."
        )


def check_images(x: Tensor, shape: tuple[int, ...], what: str = "The data") -> None:
    """Raise one sentence if `x` is not a batch of the model's shape, or an image leaves [0, 1].

    Reads the values once: call it at the door, not in a training step.
    """
    if tuple(x.shape[1:]) != tuple(shape):
        raise UnigenError(
            f"{what} has samples of shape {tuple(x.shape[1:])}, but the model was built for "
            f"{tuple(shape)}: build it with shape={tuple(x.shape[1:])} or choose other data."
        )
    if len(shape) == 3 and x.is_floating_point() and x.numel():
        low, high = x.min().item(), x.max().item()
        if not (low >= 0.0 and high <= 1.0):
            raise UnigenError(
                f"{what} has pixel values from {low:g} to {high:g}; images must lie in [0, 1]: "
                "divide bytes by 255, or undo the normalisation."
            )
