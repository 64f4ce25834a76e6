"""The comparisons of the paper and of the book, declared; `unigen reproduce` runs them.

A *comparison* trains several *arms* (models with their options) on the same data, for the same
number of steps (unless an arm says otherwise), with the same seeds and (but for Table C) the same
optimiser, and measures each by the same metric.
The first arm is the one that the others are compared with, seed by seed.

Each run ends as one JSON, `results/runs/SCALE/COMPARISON/ARM/seed0.json`: configuration, seed,
commit, device, versions, wall time, metrics, curve. A run that failed leaves a record as well,
which says why. Tables are made from these files only (:func:`summarise`). Work that is unfinished
is kept in `work`: whatever stops a run, the same call continues it, to the same numbers.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unigen_edu import __version__, checkpoints, data, metrics, models
from unigen_edu.classifier import READ_AS, ImageClassifier, classifier_of
from unigen_edu.data import Dataset
from unigen_edu.declarations import Model
from unigen_edu.errors import NotFinite, UnigenError
from unigen_edu.graphs import NotCaptured, check_graph
from unigen_edu.seeds import SeedRun, fit_seeds
from unigen_edu.training import History, decay_rates, pick_device, step_sizes

__all__ = [
    "SCALES",
    "TABLES",
    "Arm",
    "Comparison",
    "Difference",
    "LeftOut",
    "Row",
    "Scale",
    "as_markdown",
    "as_text",
    "find",
    "provenance_of",
    "reproduce",
    "student_t_half_width",
    "summarise",
]


IWAE_DRAWS = 50  # per image, of the bound that takes the place of log p(x)
_GAME_LR, _AUTOENCODER_LR = 5e-4, 1e-3  # of Adam, in all phases
_PACES = (("five times slower", 0.2), ("five times faster", 5.0))  # of a discriminator


@dataclass(frozen=True)
class Arm:
    """One side of a comparison: a model, its options, and a name if these make one.

    Attributes:
        model, options: as for `models.create`.
        label: name of the arm; "" for that of the model.
        lr: step sizes of phases that differ from the comparison's.
        precision: of the products in training, as for `fit`.
        effort: number of steps, relative to the comparison's.
    """

    model: str
    options: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""
    lr: Mapping[str, float] = field(default_factory=dict)
    precision: str = "float32"
    effort: float = 1.0

    @property
    def name(self) -> str:
        return self.label or self.model


@dataclass(frozen=True)
class Comparison:
    """Arms that differ in nothing but what they are and what an arm itself says.

    Attributes:
        name: of its folder in the results.
        table: "A" to "D".
        title: what is compared, in words.
        arms: the first is the one that the others are compared with.
        metric: a key of `metrics.evaluate`, or "class_accuracy". For "elbo" a tenth of the training
            images of each class is kept aside; the bound is looked at before the first step and
            about `Scale.looks` times after it, and that of the test set is reported from the look
            at which the images kept aside have the best. Every other score is of the last step.
        higher_is_better: of the metric.
        data: name of the data set, "{digits}" where the scale says which digits.
        size: side of the images, as in `data.load`; None: as they are.
        share: of the training images that are used, by class, from the first on; 1 uses all (but
            those kept aside).
        labelled: share of the training images that keep their labels; None: all do.
        beside: further numbers that the table shows: keys of `metrics` in the records, or
            "training_seconds". An arm that has none of a kind shows none. With "iwae" the bound of
            `IWAE_DRAWS` draws is measured at each look as well, and "inference_gap" is how far the
            ELBO is below it, at the look that is reported.
        options: of every arm's model.
        lr, betas: of Adam; None: what `fit` takes for that kind of model.
        effort: relative number of steps; 1 is that of the scale.
        first_seed: where its seeds begin. A comparison that repeats another, to see whether what
            stood out there stands, begins after the other's.
    """

    name: str
    table: str
    title: str
    arms: tuple[Arm, ...]
    metric: str
    higher_is_better: bool
    data: str = "{digits}"
    size: int | None = None
    share: float = 1.0
    labelled: float | None = None
    beside: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    lr: float | None = _GAME_LR
    betas: tuple[float, float] | None = (0.5, 0.999)
    effort: float = 1.0
    first_seed: int = 0


@dataclass(frozen=True)
class Scale:
    """How much of everything: `paper` wants a GPU, `laptop` two cores and some hours."""

    name: str
    digits: str
    steps: int
    batch_size: int
    samples: int
    network: str
    looks: int = 20


SCALES = {
    "laptop": Scale("laptop", "mnist-mini", 600, 64, 2000, "mlp"),
    "paper": Scale("paper", "mnist", 30_000, 64, 10_000, "conv"),
}

_AUTOENCODER: dict[str, Any] = {"lr": _AUTOENCODER_LR, "betas": (0.9, 0.999)}
_BY_DEFAULT: dict[str, Any] = {"lr": None, "betas": None}


def _pair(base: str, variant: str, **options: Any) -> tuple[Arm, Arm]:
    return Arm(base, options), Arm(variant, options)


def _paced(arm: Arm, pace: str, factor: float, lr: float) -> Arm:
    """The arm with a discriminator that learns at another pace than the rest."""
    name = f"{arm.name}, D {pace}"
    return Arm(arm.model, arm.options, name, {"discriminator": factor * lr})


def _weighted_at_other_paces() -> list[Comparison]:
    """Does what the weights do depend on how far D is behind the optimal one?"""
    return [
        Comparison(
            f"gan-iwgan-{pace.split()[-1]}",
            "A",
            f"importance weights in a GAN whose discriminator learns {pace}",
            tuple(
                _paced(arm, pace, factor, _GAME_LR) for arm in (Arm("gan"), Arm("iwgan", {"k": 5}))
            ),
            "inception_score",
            higher_is_better=True,
        )
        for pace, factor in _PACES
    ]


def _bounds(base: str, variant: str, what: str) -> list[Comparison]:
    """Table B's bounds: trained on a hundredth, a tenth and all of the images."""
    paced = [_paced(Arm(variant), pace, factor, _AUTOENCODER_LR) for pace, factor in _PACES]
    return [
        Comparison(
            f"{base}-{variant}-{percent}",
            "B",
            f"{what}, trained on {percent} % of the images",
            (*_pair(base, variant), *(paced if (base, percent) == ("vae", 1) else ())),
            "elbo",
            higher_is_better=True,
            share=percent / 100,
            **_AUTOENCODER,
        )
        for percent in (1, 10, 100)
    ]


def _again(found: Comparison, arm: str, *controls: Arm) -> Comparison:
    """The arm that stood out, with controls, and with seeds that nobody has looked at."""
    return replace(
        found,
        name=f"{found.name}-again",
        title=f"{found.title}, with other seeds",
        arms=(found.arms[0], *(a for a in found.arms if a.name == arm), *controls),
        first_seed=10,
    )


def _longer(found: Comparison, *controls: Arm, effort: float) -> Comparison:
    """All arms, with controls, until they no longer rise, and with seeds that are new again."""
    return replace(
        found,
        name=f"{found.name.removesuffix('-again')}-longer",
        title=f"{found.title.removesuffix(', with other seeds')}, with other seeds, "
        f"{effort:.0f} times as long",
        arms=(*found.arms, *controls),
        effort=effort,
        first_seed=20,
    )


def _in_equal_time(found: Comparison, base: Arm, other: Arm, effort: float) -> Comparison:
    """The cheaper arm with more steps beside the dearer one, and with seeds that are new again."""
    return replace(
        found,
        name=f"{found.name}-in-equal-time",
        title=f"{other.name} against {base.name} with {effort:g} times the steps ({found.data})",
        arms=(
            replace(base, effort=effort, label=f"{base.name}, {effort:g} times the steps"),
            other,
        ),
        beside=(*found.beside, "training_seconds"),
        first_seed=30,
    )


def _by_dose(found: Comparison, model: str, doses: Sequence[float]) -> Comparison:
    """Nobody judges: samples weighed by a constant, beside the first two arms."""
    constant = (Arm(model, {"weights": dose}, f"{model}, dose {dose:g}") for dose in doses)
    return replace(
        found,
        name=f"{found.name.removesuffix('-longer')}-doses",
        title=f"{found.title}, and samples with a constant weight",
        arms=(*found.arms[:2], *constant),
        first_seed=30,
    )


def _by_pupil(found: Comparison, model: str, dose: float, larger: Sequence[float]) -> Comparison:
    """Samples with a constant weight teach both parts, the encoder only, or the decoder only."""
    pupils = (
        Arm(
            model,
            {"weights": dose, "samples_teach": part},
            f"{model}, dose {dose:g} for the {part}",
        )
        for part in ("encoder", "decoder")
    )
    constant = (Arm(model, {"weights": d}, f"{model}, dose {d:g}") for d in (dose, *larger))
    return replace(
        found,
        name=f"{found.name.removesuffix('-doses')}-pupils",
        title=f"{found.title.removesuffix(' with a constant weight')} that teach one part only",
        arms=(found.arms[0], *constant, *pupils),
        beside=("iwae", "inference_gap"),
        first_seed=40,
    )


def _judged(found: Comparison, model: str, dose: float) -> Comparison:
    """Who judges single samples, and who does not, by scores of what they learn to draw.

    In the rounds before, these scores were recorded beside the bound and read after it.
    """
    constant = Arm(model, {"weights": dose}, f"{model}, dose {dose:g}")
    return replace(
        found,
        name=f"{found.name.removesuffix('-longer')}-judged",
        title=f"{found.title}: what a judge does to samples",
        arms=(*found.arms, constant),
        beside=("inception_score", "frechet_distance"),
        first_seed=50,
    )


def _rounded(found: Comparison, model: str) -> Comparison:
    """Does it cost anything to round what enters the products of a training step?"""
    return replace(
        found,
        name=f"{model}-bf16",
        title=f"{models.get(model).title}: products of training in bfloat16",
        arms=(Arm(model), Arm(model, {}, f"{model}, bf16", precision="bf16")),
        beside=("inception_score",),
        effort=4.0,
    )


def _semi_supervised() -> list[Comparison]:
    return [
        Comparison(
            f"svae-aasvae-{percent}",
            "B",
            f"error on the test set with {percent} % of the labels",
            _pair("svae", "aasvae"),
            "test_error",
            higher_is_better=False,
            labelled=percent / 100,
            **_AUTOENCODER,
        )
        for percent in (1, 10)
    ]


def _in_colour() -> list[Comparison]:
    """Table A's other data. Fully connected networks make no photographs, on a laptop neither."""
    shared: dict[str, Any] = {
        "options": {"network": "conv"},
        "beside": ("frechet_distance", "classes_covered"),
    }
    weighted = Arm("iwgan", {"k": 5}, "iwgan, k = 5")

    def of_scores(name: str, what: str) -> Comparison:
        return Comparison(
            f"gan-iwgan-{name}",
            "A",
            f"importance weights in a GAN of {what}",
            (Arm("gan"), weighted),
            "inception_score",
            higher_is_better=True,
            data=name,
            **shared,
        )

    return [
        of_scores("cifar10", "photographs"),
        of_scores("svhn", "house numbers"),
        Comparison(
            "cgan-iwcgan-svhn",
            "A",
            "importance weights in a conditional GAN of house numbers",
            _pair("cgan", "iwcgan"),
            "class_accuracy",
            higher_is_better=True,
            data="svhn",
            **shared,
        ),
    ]


_VAE_BOUNDS = _bounds("vae", "aavae", "an adversary in a VAE")
_CVAE_BOUNDS = _bounds("cvae", "aacvae", "an adversary in a conditional VAE")
_CVAE_LONGER = _longer(
    _CVAE_BOUNDS[1],
    Arm("aacvae", {"weights": "level"}, "aacvae, level weights"),
    effort=4.0,
)
_CVAE_DOSES = _by_dose(_CVAE_LONGER, "aacvae", (0.02, 0.07, 0.2))
_SEMI_SUPERVISED = _semi_supervised()
_DRAWS = (2, 5, 10, 20)  # k = 1 is the GAN, to the bit

_SAMPLES = Comparison(
    "samples",
    "C",
    "models that draw digits, each with the optimiser that is usual for its kind",
    tuple(
        Arm(model)
        for model in (
            *("gan", "iwgan", "cgan", "infogan", "fgan", "ali", "vaegan", "aae"),
            *("vae", "iwae", "aavae", "cvae", "fgm", "helmholtz", "predictability"),
        )
    ),
    "frechet_distance",
    higher_is_better=False,
    beside=("inception_score", "classes_covered", "elbo", "training_seconds"),
    **_BY_DEFAULT,
)

_OF_CLOTHES = replace(
    _SAMPLES,
    name="samples-fashion",
    title="models that draw clothes, each with the optimiser that is usual for its kind",
    data="fashion-mnist",
    beside=_SAMPLES.beside[:-1],  # the time does not hang on what the images show
)
_OF_USPS = replace(
    _OF_CLOTHES,
    name="samples-usps",
    title="models that draw digits of USPS, each with the optimiser that is usual for its kind",
    data="usps",
    size=28,
)

_IMPORTANCE_AGAIN = [
    _again(found, "iwgan", Arm("iwgan", {"power": 0.0}, "iwgan, equal weights"))
    for found in (_OF_CLOTHES, _OF_USPS)
]

_IMPORTANCE_LONGER = _longer(_IMPORTANCE_AGAIN[1], effort=4.0)

COMPARISONS: tuple[Comparison, ...] = (
    Comparison(
        "gan-iwgan",
        "A",
        "importance weights in a GAN",
        (
            Arm("gan"),
            *(Arm("iwgan", {"k": k}, f"iwgan, k = {k}") for k in _DRAWS),
            Arm("iwgan", {"k": 5, "power": 0.0}, "k = 5, equal weights"),
        ),
        "inception_score",
        higher_is_better=True,
    ),
    *_weighted_at_other_paces(),
    Comparison(
        "cgan-iwcgan",
        "A",
        "importance weights in a conditional GAN",
        _pair("cgan", "iwcgan"),
        "class_accuracy",
        higher_is_better=True,
    ),
    *_in_colour(),
    *_VAE_BOUNDS,
    _again(
        _VAE_BOUNDS[0],
        "aavae, D five times slower",
        _paced(Arm("aavae"), "never learns", 1e-9, _AUTOENCODER_LR),
    ),
    *_CVAE_BOUNDS,
    *(
        _again(found, "aacvae", _paced(Arm("aacvae"), "never learns", 1e-9, _AUTOENCODER_LR))
        for found in _CVAE_BOUNDS[:2]
    ),
    _CVAE_LONGER,
    _CVAE_DOSES,
    _by_pupil(_CVAE_DOSES, "aacvae", 0.2, (0.5, 1.0)),
    _judged(_CVAE_LONGER, "aacvae", 0.07),
    *_SEMI_SUPERVISED,
    *(
        _again(
            found,
            "aasvae",
            Arm("aasvae", {"weights": "level"}, "aasvae, level weights"),
            Arm("aasvae", {"weights": 0.1}, "aasvae, dose 0.1"),
        )
        for found in _SEMI_SUPERVISED
    ),
    _SAMPLES,
    _OF_CLOTHES,
    _OF_USPS,
    *_IMPORTANCE_AGAIN,
    _IMPORTANCE_LONGER,
    # On a CPU a step of the IWGAN takes 2.1 times as long as one of the GAN.
    _in_equal_time(_IMPORTANCE_LONGER, Arm("gan"), Arm("iwgan"), effort=2.25),
    _rounded(_SAMPLES, "gan"),
    *(
        _rounded(replace(_SAMPLES, metric="elbo", higher_is_better=True), model)
        for model in ("vae", "iwae")
    ),
    Comparison(
        "f-divergences",
        "D",
        "f-GANs and f-GMs on the ring of Gaussians",
        tuple(
            Arm(model, {"divergence": f, "latent": 2}, f"{model}, {f}")
            for model in ("fgan", "fgm")
            for f in ("js", "kl", "reverse-kl", "pearson", "hellinger")
        ),
        "modes_assigned",
        higher_is_better=True,
        data="ring",
        beside=(
            *("modes_covered", "log_model_density", "modes_dropped"),
            *("dropped_called_missed", "kept_called_missed"),
        ),
        effort=5.0,
        # Of three settings, tried with seeds 100 and 101 on both models with "js" and "kl", the one
        # with the largest share of samples near a mode on average.
        lr=3e-3,
        betas=(0.5, 0.9),
    ),
)
TABLES = {
    table: tuple(c for c in COMPARISONS if c.table == table)
    for table in sorted({c.table for c in COMPARISONS})
}


def find(names: Sequence[str]) -> list[Comparison]:
    """The comparisons of tables ("A") or by name ("gan-iwgan"), in the order of their declaration.

    Raises:
        UnigenError: there is no such table or comparison.
    """
    known = [*TABLES, *(c.name for c in COMPARISONS)]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UnigenError(
            f"There is no table or comparison '{unknown[0]}'; choose from: {', '.join(known)}."
        )
    return [c for c in COMPARISONS if c.table in names or c.name in names]


# --- one run --------------------------------------------------------------------------------------


def training_set(
    comparison: Comparison, scale: Scale, root: str | Path | None = None, verify: bool = True
) -> Dataset:
    """What every arm of a comparison is trained on; `root` and `verify` are as in `data.load`."""
    name = comparison.data.format(digits=scale.digits)
    how: dict[str, Any] = {"root": root, "verify": verify, "size": comparison.size}
    if comparison.labelled is not None:
        count = round(comparison.labelled * len(data.load(name, "train", **how)))
        return data.load(f"{name}+{count}", "train", **how)
    whole = data.load(name, "train", **how)
    if comparison.metric == "elbo":
        whole = whole.subset(first_of_each_class(whole, 0.9))
    if comparison.share < 1:
        whole = whole.subset(first_of_each_class(whole, comparison.share))
    return whole.binarised(seed=0) if comparison.metric == "elbo" else whole


def kept_aside(
    comparison: Comparison, scale: Scale, root: str | Path | None = None, verify: bool = True
) -> Dataset:
    """The last tenth of each class of the training images, which chooses among the looks (elbo)."""
    name = comparison.data.format(digits=scale.digits)
    whole = data.load(name, "train", root=root, verify=verify, size=comparison.size)
    used = first_of_each_class(whole, 0.9)
    rest = torch.ones(len(whole), dtype=torch.bool)
    rest[used] = False
    return whole.subset(rest.nonzero()[:, 0]).binarised(seed=0)


@dataclass(frozen=True)
class Bounds:
    """A `watch` that measures the bound of both sets of held-out images, by the same draws.

    With k > 0 the IWAE bound of k draws on the test set as well.
    """

    aside: Dataset
    test: Dataset
    k: int = 0

    def __call__(self, model: Any, step: int) -> dict[str, float]:
        """Mean bounds per image, in nats."""
        test_set = self.test.to(model.device)
        found = {
            "elbo aside": metrics.elbo(model, self.aside.to(model.device)).value,
            "elbo test": metrics.elbo(model, test_set).value,
        }
        if self.k:
            found["iwae test"] = metrics.iwae_bound(model, test_set, self.k).value
        return found


def at_the_best_look(history: History) -> dict[str, float]:
    """The bounds of the test set at the look at which that of the images kept aside is best."""
    best = max(range(len(history.watched_steps)), key=history.watched["elbo aside"].__getitem__)
    closer = history.watched.get("iwae test")
    gap = {} if closer is None else {
        "iwae": closer[best],
        "inference_gap": closer[best] - history.watched["elbo test"][best],
    }  # fmt: skip
    return gap | {
        "elbo": history.watched["elbo test"][best],
        "elbo_aside": history.watched["elbo aside"][best],
        "elbo_step": history.watched_steps[best],
    }


def first_of_each_class(dataset: Dataset, share: float) -> Tensor:
    """Indices, in order, of the first `share` of the samples of each class."""
    assert dataset.labels is not None
    labels = dataset.labels.cpu()
    kept = [
        (labels == c).nonzero()[:, 0][: max(1, round(share * int((labels == c).sum())))]
        for c in labels.unique()
    ]
    return torch.cat(kept).sort().values


def arm_options(
    comparison: Comparison, arm: Arm, scale: Scale, train_set: Dataset
) -> dict[str, Any]:
    """Options of an arm's model: those of the scale and the data, the comparison's, its own."""
    known = models.options(arm.model)
    options: dict[str, Any] = {}
    if "network" in known and len(train_set.shape) == 3:
        options["network"] = scale.network
    if "classes" in known and train_set.num_classes is not None:
        options["classes"] = train_set.num_classes
    return options | dict(comparison.options) | dict(arm.options)


def class_accuracy(model: Model, classifier: ImageClassifier, samples: int, seed: int) -> float:
    """Share of samples that the classifier takes for the class that was asked for."""
    asked = torch.arange(samples, device=model.device) % 10
    with torch.random.fork_rng(devices=[model.device] if model.device.type == "cuda" else []):
        torch.manual_seed(seed)
        with torch.no_grad():
            drawn = model.sample(samples, asked)  # type: ignore[call-arg]
            said = torch.cat([classifier(part).argmax(1) for part in drawn.split(1000)])
    return (said == asked).double().mean().item()


@torch.no_grad()
def density_scores(model: Any, name: str, samples: int, seed: int) -> dict[str, Any]:
    """What an f-GM's density estimator tells about a toy whose modes are known.

    A mode is dropped if it gets fewer than a tenth of the samples that are its due. (A datum is
    called missed if its density is ten times too small, by `FGM.missed`.)

    Returns:
        log_model_density: of 1000 test points under the generator, in nats, averaged;
        log_density_error: |log d(x) - log p_data(x)| of them, in nats, averaged;
        modes_dropped: how many there are;
        dropped_called_missed, kept_called_missed: share of the test points of those modes that the
        estimator calls missed; None where there are no such modes.
    """
    toy, test_set = data.toy(name), data.load(name, "test", device=model.device)
    x = test_set.images()[:1000]
    with torch.random.fork_rng(devices=[model.device] if model.device.type == "cuda" else []):
        torch.manual_seed(seed)
        made = model.sample(samples)
        found = model.missed(x, k=300)
    modes = toy.mode_of(made.cpu())
    share = modes[modes >= 0].bincount(minlength=toy.num_modes) / samples
    dropped = share < 0.1 / toy.num_modes
    of_point = toy.mode_of(x.cpu())
    in_dropped = (of_point >= 0) & dropped[of_point]
    in_kept = (of_point >= 0) & ~dropped[of_point]
    true = toy.log_density(x.cpu()).to(found.log_density)

    def missed(points: Tensor) -> float | None:
        return found.mask.cpu()[points].double().mean().item() if points.any() else None

    return {
        "log_model_density": found.log_model.mean().item(),
        "log_density_error": (found.log_density - true).abs().mean().item(),
        "modes_dropped": int(dropped.sum()),
        "dropped_called_missed": missed(in_dropped),
        "kept_called_missed": missed(in_kept),
    }


def measure(
    comparison: Comparison,
    scale: Scale,
    run: SeedRun,
    device: torch.device,
    root: str | Path | None = None,
    verify: bool = True,
    classifier: ImageClassifier | None = None,
) -> dict[str, Any]:
    """Every metric that applies to a trained model, that of the comparison among them.

    Args:
        root, verify: as for `data.load`.
        classifier: that scores samples of images; default that of the data.
    """
    name = comparison.data.format(digits=scale.digits)
    model, seed = run.model.to(device), run.seed
    how: dict[str, Any] = {"root": root, "verify": verify}
    if classifier is None and name in READ_AS:
        classifier = classifier_of(name, device, **how)
    found = metrics.evaluate(
        model, name, samples=scale.samples, seed=seed, classifier=classifier, **how
    )
    if comparison.metric == "elbo":
        for key in ("elbo", "elbo_standard_error", "iwae", "iwae_standard_error"):
            if key in found:
                found[f"{key}_at_the_end"] = found.pop(key)
        found |= at_the_best_look(run.history)
    if comparison.metric == "class_accuracy":
        assert classifier is not None
        found["class_accuracy"] = class_accuracy(model, classifier, scale.samples, seed)
    of_modes = name in data.toy_names() and data.toy(name).centres is not None
    if of_modes and hasattr(model, "missed"):
        found |= density_scores(model, name, scale.samples, seed)
    if comparison.metric not in found:
        raise UnigenError(f"{comparison.name}: the model {model.name} has no {comparison.metric}.")
    return found


def provenance(device: torch.device, commit: str | None) -> dict[str, Any]:
    """What a reader needs to judge a run: code, machine, versions and date."""
    cuda = device.type == "cuda"
    return {
        "commit": commit,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "device": str(device),
        "machine": torch.cuda.get_device_name(device) if cuda else platform.machine(),
        "cores": os.cpu_count(),
        "versions": {
            "unigen_edu": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
        },
    }


def _commit() -> str | None:
    """The commit of the checkout that the package is in, marked if it was changed; else None."""
    here = Path(__file__).resolve().parent

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", *arguments], cwd=here, capture_output=True, text=True, check=False
            )
        except OSError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    # Installed in an environment, it may lie inside a repository of something else.
    if git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None
    commit = git("rev-parse", "HEAD")
    changed = git("status", "--porcelain", "--", ".")
    return f"{commit} with changes" if commit and changed else commit


def record_path(out: str | Path, scale: Scale, comparison: Comparison, arm: Arm, seed: int) -> Path:
    """Where the record of a run stands."""
    return Path(out) / scale.name / comparison.name / _folder_name(arm) / f"seed{seed}.json"


def _folder_name(arm: Arm) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", arm.name)


def _write(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record whole, or leave what was there."""
    draft = path.with_suffix(".draft")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(_as_json(record), encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise UnigenError(
            f"The record {path} cannot be written ({error.strerror}): put that right and run the "
            "same command again; what was trained is kept."
        ) from None


def _as_json(record: Mapping[str, Any]) -> str:
    """A record with a line for each entry; curves in one line, with seven digits."""

    def short(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: short(entry) for key, entry in value.items()}
        if isinstance(value, list):
            return [float(f"{v:.7g}") if isinstance(v, float) else v for v in value]
        return value

    lines = (f" {json.dumps(key)}: {json.dumps(short(value))}" for key, value in record.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


# --- all runs -------------------------------------------------------------------------------------


def reproduce(
    comparisons: Iterable[Comparison],
    scale: Scale,
    *,
    seeds: Sequence[int] = tuple(range(10)),
    device: str | torch.device = "auto",
    graph: bool = False,
    out: str | Path = "results/runs",
    work: str | Path = "runs/reproduce",
    root: str | Path | None = None,
    verify: bool = True,
    progress: bool = True,
    say: Callable[[str], None] = print,
) -> list[Path]:
    """Do every run that has no record yet; returns the records of those that failed in this call.

    Args:
        comparisons: what to run; see :func:`find`.
        scale: how much of it.
        seeds: the same for every arm; counted from the comparison's `first_seed`.
        device: as for `fit`. On a GPU the seeds of an arm are trained as one stack, on a CPU side
            by side.
        graph: as for `fit`.
        out: folder of the records.
        work: folder of unfinished runs; each is deleted once its record is written, done or failed.
        root, verify: as in `data.load`.
        progress: show a progress bar for each arm.
        say: called with a line for each arm.

    Raises:
        LeftOut: the data of a comparison are missing; the others were run.
        UnigenError: a folder that cannot be written, records of other
            settings, seeds that a repetition was meant to be the first to use, a device that was
            lost.
        Interrupted: on Ctrl-C or SIGTERM, after checkpoints were written.
    """
    target, commit = pick_device(device), _commit()
    if graph:
        check_graph(target)
    checkpoints.prepare_folder(out)
    comparisons = list(comparisons)
    for comparison in comparisons:
        if 0 < comparison.first_seed <= max(seeds):
            raise UnigenError(
                f"{comparison.name} repeats a comparison with the seeds from "
                f"{comparison.first_seed} on: ask for at most {comparison.first_seed} seeds."
            )
        for arm in comparison.arms:
            read_records(comparison, scale, arm, out)  # says which one is of other settings
    plan = [
        (comparison, arm, missing)
        for comparison in comparisons
        for arm in comparison.arms
        if (
            missing := [
                seed
                for seed in (comparison.first_seed + number for number in seeds)
                if not record_path(out, scale, comparison, arm, seed).exists()
            ]
        )
    ]
    how: dict[str, Any] = {"root": root, "verify": verify}
    classifiers: dict[str, ImageClassifier | None] = {}
    left_out: dict[str, UnigenError] = {}
    waiting = sum(len(missing) * c.effort * arm.effort for c, arm, missing in plan)
    spent = done = 0.0
    failed = []
    for comparison, arm, missing in plan:
        left = f", about {_duration(spent / done * (waiting - done))} left" if done else ""
        if comparison.name in left_out:
            continue
        if comparison.name not in classifiers:
            try:
                training_set(comparison, scale, **how)
                found = _classifier_behind(comparison, scale, target, how, Path(out), say)
            except UnigenError as error:
                say(f"{comparison.name}: left out. {error}")
                left_out[comparison.name] = error
                continue
            classifiers[comparison.name] = found
        say(f"{comparison.name}: {arm.name}, seeds {', '.join(map(str, missing))}{left}")
        started = time.perf_counter()
        try:
            failed += _run_arm(
                comparison, arm, scale, missing, target, graph, Path(out), Path(work), how,
                classifiers[comparison.name], progress, commit,
            )  # fmt: skip
        except torch.OutOfMemoryError:
            raise UnigenError(
                f"The device '{target}' is short of memory for {len(missing)} seeds of {arm.name}: "
                "ask for fewer with --seeds, and for the rest afterwards."
            ) from None
        except getattr(torch, "AcceleratorError", ()) as error:
            raise UnigenError(
                f"The device '{target}' failed ({str(error).splitlines()[0]}): run the same "
                "command again; it continues from the last checkpoints."
            ) from error
        spent += time.perf_counter() - started
        done += len(missing) * comparison.effort * arm.effort
    if left_out:
        raise LeftOut(
            f"Left out: {', '.join(left_out)}. The first, because: {next(iter(left_out.values()))}"
        )
    return failed


class LeftOut(UnigenError):
    """Everything was run that could be; of some comparisons the data are missing."""


def _classifier_behind(
    comparison: Comparison,
    scale: Scale,
    device: torch.device,
    how: Mapping[str, Any],
    out: Path,
    say: Callable[[str], None],
) -> ImageClassifier | None:
    """The classifier that scores a comparison's samples; None if none does.

    Raises:
        UnigenError: runs of the comparison were scored by another one.
    """
    name = comparison.data.format(digits=scale.digits)
    if name not in READ_AS:
        return None
    classifier = classifier_of(name, device, **how, say=say)
    for arm in comparison.arms:
        for record in read_records(comparison, scale, arm, out):
            if scored_by(record) not in (None, classifier.about["weights_sha256"]):
                raise UnigenError(
                    f"Runs of {comparison.name} in {out} were scored by another classifier of "
                    f"{name} than the one that is here, so theirs and new ones cannot be compared: "
                    "put theirs where UNIGEN_CLASSIFIERS points to, or choose another folder with "
                    "--out."
                )
    return classifier


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return "a minute"
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} hours"


def _steps(comparison: Comparison, arm: Arm, scale: Scale) -> int:
    return round(scale.steps * comparison.effort * arm.effort)


def _training_settings(comparison: Comparison, arm: Arm, scale: Scale) -> dict[str, Any]:
    """Steps and optimiser of an arm, as its records hold them."""
    model = models.get(arm.model)
    return {
        "steps": _steps(comparison, arm, scale),
        "lr": step_sizes(model, comparison.lr) | dict(arm.lr),
        "betas": comparison.betas or decay_rates(model),
        "precision": arm.precision,
    }


def _run_arm(
    comparison: Comparison,
    arm: Arm,
    scale: Scale,
    seeds: list[int],
    target: torch.device,
    graph: bool,
    out: Path,
    work: Path,
    how: Mapping[str, Any],
    classifier: ImageClassifier | None,
    progress: bool,
    commit: str | None,
) -> list[Path]:
    """All seeds of an arm: trained together, or, if that fails, each by itself.

    Args:
        how: `root` and `verify`, as for `data.load`.
        classifier: that scores the samples.
    """
    train_set = training_set(comparison, scale, **how)
    steps = _steps(comparison, arm, scale)
    folder = work / scale.name / comparison.name / _folder_name(arm)
    settings: dict[str, Any] = {
        **_training_settings(comparison, arm, scale),
        "options": arm_options(comparison, arm, scale, train_set),
        "batch_size": min(scale.batch_size, len(train_set)),
        "log_every": max(1, steps // 20),
    }
    about = {
        "comparison": comparison.name,
        "title": comparison.title,
        "scale": asdict(scale),
        "arm": arm.name,
        "model": arm.model,
        **settings,
        "metric": comparison.metric,
        "data": train_set.fingerprint,
        **({} if classifier is None else {"scored_by": classifier.about}),
    }

    watch: dict[str, Any] = {}
    if comparison.metric == "elbo":
        aside = kept_aside(comparison, scale, **how)
        test_set = data.load(
            comparison.data.format(digits=scale.digits), "test", size=comparison.size, **how
        )
        bounds = Bounds(
            aside,
            test_set.binarised(metrics.BINARISATION_SEED),
            IWAE_DRAWS if "iwae" in comparison.beside else 0,
        )
        watch = {"watch": bounds, "watch_every": max(1, steps // scale.looks)}

    def train(some: list[int]) -> list[SeedRun]:
        return fit_seeds(
            arm.model, train_set, seeds=some, device=target, graph=graph, out=folder,
            progress=progress, **settings, **watch,
        )  # fmt: skip

    def keep(run: SeedRun) -> None:
        history = run.history
        found = measure(comparison, scale, run, target, classifier=classifier, **how)
        result = {
            "status": "done",
            "metrics": found,
            "training_seconds": round(history.seconds, 3),
            "graph": graph,
            "parameters_sha256": checkpoints.parameter_checksum(run.model),
            "curve": {"step": history.steps, **history.terms},
        }
        if watch:
            result["looks"] = {"step": history.watched_steps, **history.watched}
        path = record_path(out, scale, comparison, arm, run.seed)
        _write(path, {**about, "seed": run.seed, **result, **provenance(target, commit)})
        shutil.rmtree(folder / f"seed{run.seed}", ignore_errors=True)

    failed = []
    together: list[SeedRun] | None = None
    try:
        together = train(seeds)
    except NotCaptured:  # the device may do no more work for this process
        raise
    except UnigenError:  # one seed failed, say; the others go on without it
        pass
    for i, seed in enumerate(seeds):
        try:
            run = train([seed])[0] if together is None else together[i]
        except NotFinite as error:  # whatever else is wrong can be put right, and is no result
            path = record_path(out, scale, comparison, arm, seed)
            reason = {"status": "failed", "reason": str(error)}
            _write(path, {**about, "seed": seed, **reason, **provenance(target, commit)})
            shutil.rmtree(folder / f"seed{seed}", ignore_errors=True)
            failed.append(path)
        else:
            keep(run)
    return failed


# --- tables ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Difference:
    """Of an arm from the base of its table, seed by seed.

    Attributes:
        mean: of the differences.
        half_width: of the 95 % interval around it (Student's t); NaN for a single seed.
        better, worse: on how many seeds the arm is.
    """

    mean: float
    half_width: float
    better: int
    worse: int


# Of the classifiers that were shipped when records did not yet name theirs.
_UNNAMED = {
    "digits": "5791f91410ea682f917c41f02a3eda5dd91c2ad88b15f521dad74ef6045e0c7a",
    "clothes": "b8f9aa0180a1de66ede148dd0989db6f6fddd41d4fa62be89aaaba7912a97659",
}


def scored_by(record: Mapping[str, Any]) -> str | None:
    """Checksum of the weights of the classifier behind a record's scores; None if it has none."""
    if "scored_by" in record:
        return record["scored_by"]["weights_sha256"]
    name = str(record.get("data", "")).partition(":")[0]
    return _UNNAMED.get(READ_AS.get(name, ""))


@dataclass(frozen=True)
class Row:
    """One arm of a comparison, over its seeds.

    Attributes:
        values: of the metric, by seed; of runs that are done.
        failed: why, by seed; of runs that failed.
        mean, sd: of the values; the sd has n - 1 in the denominator and is NaN for one seed.
        beside: mean, sd and count of the comparison's further numbers, of those that runs have.
        difference: from the base, on the seeds that both have; None for the base itself.
    """

    arm: Arm
    values: dict[int, float]
    failed: dict[int, str]
    mean: float
    sd: float
    beside: dict[str, tuple[float, float, int]]
    difference: Difference | None


def read_records(comparison: Comparison, scale: Scale, arm: Arm, out: str | Path) -> list[dict]:
    """The records of an arm, by seed.

    Raises:
        UnigenError: one that cannot be read, or that is of other settings than those declared.
    """
    found = []
    for path in record_path(out, scale, comparison, arm, 0).parent.glob("seed*.json"):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            settings = {
                "scale": asdict(scale),
                "metric": comparison.metric,
                "model": arm.model,
                **_training_settings(comparison, arm, scale),
            }
            declared = json.dumps(settings)  # as a record holds them: tuples are lists
            record.setdefault("precision", "float32")  # records did not always say it
            same = all(record[key] == value for key, value in json.loads(declared).items())
            same = same and set(arm.options.items()) <= set(record["options"].items())
            seed = int(record["seed"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise UnigenError(
                f"The record {path} cannot be read: delete it, and 'unigen reproduce' runs it anew."
            ) from None
        if not same:
            raise UnigenError(
                f"The record {path} is of other settings than those declared now: delete it, and "
                "'unigen reproduce' runs it anew."
            )
        found.append((seed, record))
    return [record for _, record in sorted(found, key=lambda pair: pair[0])]


def summarise(
    comparison: Comparison,
    scale: Scale,
    out: str | Path = "results/runs",
    against: str | None = None,
    metric: str | None = None,
) -> list[Row]:
    """The rows of a comparison's table, from its records alone; an arm without one has no row.

    Args:
        against: name of the arm that the others are compared with; default the first.
        metric: compare another number of the records than the comparison does, such as "iwae".
            "Better" still means what it means there: higher, or lower.

    Raises:
        UnigenError: records that cannot be read, are of other settings, or of more than one set of
            data or classifier; an unknown arm.
    """
    names = [arm.name for arm in comparison.arms]
    against = names[0] if against is None else against
    if against not in names:
        raise UnigenError(
            f"{comparison.name} has no arm '{against}'; choose one of: {', '.join(names)}."
        )
    records = {arm.name: read_records(comparison, scale, arm, out) for arm in comparison.arms}
    for what, of in (("data", lambda r: r.get("data")), ("classifiers", scored_by)):
        if len({of(r) for found in records.values() for r in found}) > 1:
            raise UnigenError(
                f"The records of {comparison.name} in {out} are of different {what}, so they make "
                "no table: delete those that do not belong there."
            )
    values = {
        name: {
            r["seed"]: float(r["metrics"][metric or comparison.metric])
            for r in found
            if r["status"] == "done"
        }
        for name, found in records.items()
    }
    base = values[against]
    sign = 1 if comparison.higher_is_better else -1
    rows: list[Row] = []
    for arm in comparison.arms:
        found, of_arm = records[arm.name], values[arm.name]
        if not found:
            continue
        shared = [of_arm[seed] - base[seed] for seed in of_arm if seed in base]
        difference = None
        if arm.name != against and shared:
            difference = Difference(
                _mean_sd(shared)[0],
                student_t_half_width(shared),
                sum(sign * d > 0 for d in shared),
                sum(sign * d < 0 for d in shared),
            )
        failed = {r["seed"]: r["reason"] for r in found if r["status"] == "failed"}
        beside = {}
        for key in comparison.beside:
            numbers = [number for r in found if (number := _number(r, key)) is not None]
            if numbers:
                beside[key] = (*_mean_sd(numbers), len(numbers))
        rows.append(Row(arm, of_arm, failed, *_mean_sd(of_arm.values()), beside, difference))
    return rows


def _number(record: Mapping[str, Any], key: str) -> float | None:
    """One number of a run that is done; None if it has none of that name."""
    found = record[key] if key in record else record.get("metrics", {}).get(key)
    return None if found is None else float(found)


def as_text(comparison: Comparison, scale: Scale, out: str | Path = "results/runs") -> str:
    """A comparison's table, as lines for a terminal."""
    lines = [f"{comparison.table} · {comparison.title} ({scale.name}): {comparison.metric}"]
    rows = summarise(comparison, scale, out)
    if not rows:
        lines.append("  nothing was recorded")
    for row in rows:
        line = f"  {row.arm.name:<22} {row.mean:10.4g} ± {row.sd:.2g}  ({len(row.values)} seeds)"
        line += "".join(f"  {key} {m:.4g} ± {sd:.2g}" for key, (m, sd, _) in row.beside.items())
        if row.difference is not None:
            d = row.difference
            line += (
                f"  difference {d.mean:+.4g}, 95 % from {d.mean - d.half_width:+.4g} to "
                f"{d.mean + d.half_width:+.4g}; better on {d.better}, worse on {d.worse}"
            )
        if row.failed:
            line += f"  failed: {', '.join(map(str, row.failed))}"
        lines.append(line)
    return "\n".join(lines)


def as_markdown(comparison: Comparison, scale: Scale, out: str | Path = "results/runs") -> str:
    """A comparison's table, for a notebook; "" if nothing was recorded."""
    rows = summarise(comparison, scale, out)
    if not rows:
        return ""
    shown = [key for key in comparison.beside if any(key in row.beside for row in rows)]
    headings = [comparison.title, *map(_in_words, (comparison.metric, *shown))]
    headings += ["paired difference, 95 %", "better, worse"]
    lines = [f"| {' | '.join(headings)} |", "|---" * len(headings) + "|"]
    for row in rows:
        cells = [row.arm.name, _with_spread(row.mean, row.sd)]
        if row.failed:
            cells[1] += f" (failed seeds: {', '.join(map(str, row.failed))})"
        for key in shown:
            mean, sd, count = row.beside.get(key, (math.nan, math.nan, 0))
            cell = _with_spread(mean, sd) if count else ""
            cells.append(cell + (f" ({count} runs)" if 0 < count < len(row.values) else ""))
        if row.difference is not None:
            d = row.difference
            difference = f"{d.mean:+#.3g}".rstrip(".")
            cells.append(f"{difference} ± " + f"{d.half_width:#.2g}".rstrip("."))
            cells.append(f"{d.better}, {d.worse}")
        else:
            cells += ["", ""]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _in_words(key: str) -> str:
    words = {
        "elbo": "ELBO, nats",
        "iwae": f"IWAE bound, {IWAE_DRAWS} draws, nats",
        "inference_gap": "between the two, nats",
        "modes_assigned": "share of samples near a mode",
        "modes_covered": "modes that any sample reaches",
        "log_model_density": "log-density of test points, nats",
        "modes_dropped": "modes with under a tenth of their due",
        "dropped_called_missed": "flagged, of points of dropped modes",
        "kept_called_missed": "flagged, of points of kept modes",
    }
    return words.get(key, key.replace("_", " "))


def _with_spread(mean: float, sd: float) -> str:
    shown = f"{mean:#.4g}".rstrip(".")
    return shown if math.isnan(sd) else f"{shown} ± " + f"{sd:#.2g}".rstrip(".")


def provenance_of(
    comparisons: Iterable[Comparison], scale: Scale, out: str | Path = "results/runs"
) -> str:
    """Where the records of comparisons come from, in one sentence."""
    records = [
        record
        for comparison in comparisons
        for arm in comparison.arms
        for record in read_records(comparison, scale, arm, out)
    ]
    if not records:
        return "Nothing was recorded."

    def all_of(values: Iterable[Any]) -> str:
        return ", ".join(sorted({str(value) for value in values}))

    seeds = sorted({record["seed"] for record in records})
    machines = (
        f"{r['device']} ({r['machine']}, {r['cores']} cores), torch {r['versions']['torch']}"
        for r in records
    )
    return (
        f"{len(records)} runs with seeds {seeds[0]} to {seeds[-1]} on "
        f"{all_of(r['date'][:10] for r in records)}, {all_of(machines)}, commit "
        f"{all_of(str(r['commit'])[:10] + str(r['commit'])[40:] for r in records)}."
    )


def _mean_sd(values: Iterable[float]) -> tuple[float, float]:
    found = torch.tensor(list(values), dtype=torch.float64)
    mean = found.mean().item() if len(found) else math.nan
    return mean, found.std().item() if len(found) > 1 else math.nan


def student_t_half_width(values: Sequence[float], level: float = 0.95) -> float:
    """Half the width of the interval for the mean of normal draws; NaN for a single one."""
    n = len(values)
    if n < 2:
        return math.nan
    return _student_t(level, n - 1) * _mean_sd(values)[1] / math.sqrt(n)


def _student_t(level: float, degrees: int) -> float:
    """The t with P(|T| < t) = `level`, by halving; the probability has a closed form in `degrees`.

    With theta = atan(t / sqrt(degrees)): a finite sum of powers of cos(theta) (Abramowitz and
    Stegun, 26.7.3 and 26.7.4).
    """

    def probability(t: float) -> float:
        theta = math.atan(t / math.sqrt(degrees))
        sin, cos = math.sin(theta), math.cos(theta)
        odd = degrees % 2
        term = cos if odd else 1.0
        if degrees == 1:
            return 2 * theta / math.pi
        total = 0.0
        for j in range(degrees // 2):
            if j:
                term = term * (2 * j) / (2 * j + 1) if odd else term * (2 * j - 1) / (2 * j)
                term *= cos * cos
            total += term
        return 2 / math.pi * (theta + sin * total) if odd else sin * total

    low, high = 0.0, 1e4
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if probability(middle) < level else (low, middle)
    return high
