"""How good is a trained model? Estimators, each with its formula, its bias and its source.

Three families, and what each can and cannot see:

* **Bounds** on log p(x) for models with latent variables (`elbo`, `iwae_bound`): in nats per image,
  comparable only on the same data in the same form (binary or grey).
* **Scores of samples** through a classifier of the data's classes (`inception_score`,
  `frechet_distance`). They hang on that network (`classifier.classifier_of`) and on the number of
  samples: compare at equal n only, and never with scores made by another network.
* **Coverage** (`modes_covered`, `classes_covered`): which modes the samples reach.

The inception score and the Frechet statistics are computed by torchmetrics. Nothing here keeps a
gradient, and every function with a `seed` leaves the global random state as it found it.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from unigen_edu import data
from unigen_edu.classifier import READ_AS, ImageClassifier, classifier_of, load_classifier
from unigen_edu.data import Dataset, Toy
from unigen_edu.declarations import Model
from unigen_edu.errors import UnigenError

__all__ = [
    "BINARISATION_SEED",
    "Coverage",
    "Estimate",
    "Score",
    "accuracy",
    "classes_covered",
    "coverage",
    "elbo",
    "evaluate",
    "expected_modes",
    "frechet_distance",
    "gaussian_frechet_distance",
    "inception_score",
    "iwae_bound",
    "modes_covered",
]

# Binary images are compared on one binarisation of the test set: this one, in every run.
BINARISATION_SEED = 0


class Estimate(NamedTuple):
    """A mean over images, in nats, with its standard error (over images and draws together)."""

    value: float
    standard_error: float


class Score(NamedTuple):
    """Mean and standard deviation over the splits of the sample (not over repeated runs)."""

    mean: float
    sd: float  # with n - 1; nan for a single split


class Coverage(NamedTuple):
    """How samples spread over K modes.

    Attributes:
        modes: number of modes with at least one sample.
        num_modes: K.
        kl_hist_uniform: KL(histogram || uniform) = log K - H(histogram) in nats, from 0 to log K,
            of the samples that belong to a mode; nan if none does.
        assigned: fraction of the samples that belong to a mode.
        samples: n. A perfect sampler, too, misses modes when n is small: see `expected_modes`.
    """

    modes: int
    num_modes: int
    kl_hist_uniform: float
    assigned: float
    samples: int


class LatentModel(Protocol):
    """What the bounds need of a model. A conditional one takes `label` (B,) as well."""

    def elbo(self, x: Tensor) -> Tensor:
        """(B, ...) -> (B,): one draw's log p(x,z) - log q(z|x), or an unbiased form of its mean."""

    def log_weights(self, x: Tensor, k: int) -> Tensor:
        """(B, ...) -> (k, B): log p(x,z_i) - log q(z_i|x) for z_1..z_k drawn from q(z|x)."""


# --- bounds ---------------------------------------------------------------------------------------


@torch.no_grad()
def elbo(model: LatentModel, dataset: Dataset, *, seed: int = 0, batch_size: int = 250) -> Estimate:
    """Mean over images of ELBO(x) = E_{q(z|x)}[log p(x,z) - log q(z|x)] <= log p(x), in nats.

    Estimator: `model.elbo(x)` with one draw of z per image, averaged over the data set. Unbiased
    for the mean ELBO, so a lower bound on the mean log-likelihood *in expectation*: a single
    estimate may lie above it. Source: Kingma & Welling (2014), Auto-Encoding Variational Bayes.
    """
    return _mean_over_images(model, dataset, model.elbo, seed, batch_size)


@torch.no_grad()
def iwae_bound(
    model: LatentModel, dataset: Dataset, k: int, *, seed: int = 0, batch_size: int = 250
) -> Estimate:
    """Mean over images of L_k(x) = E log (1/k) sum_i w_i, w_i = p(x,z_i)/q(z_i|x), in nats.

    Estimator: logsumexp_i log w_i - log k for each image on its own (weights of different images
    are never pooled), averaged over the data set. Unbiased for the mean of L_k; as an estimate of
    log p(x) it is biased downwards by about Var(w) / (2 k p(x)^2), less for larger k: state k with
    the number. Source: Burda, Grosse & Salakhutdinov (2016), Importance Weighted Autoencoders.

    Raises:
        UnigenError: k < 1.
    """
    if k < 1:
        raise UnigenError(f"k is {k}, but the bound averages at least one weight: use k >= 1.")

    def log_mean_weight(x: Tensor, **given: Tensor) -> Tensor:
        total = torch.tensor(-math.inf, device=x.device)  # its dtype will be that of the weights
        for first in range(0, k, 50):  # memory stays that of 50 draws, whatever k is
            some = model.log_weights(x, min(50, k - first), **given)
            total = torch.logaddexp(total, torch.logsumexp(some, 0))
        return total - math.log(k)

    return _mean_over_images(model, dataset, log_mean_weight, seed, batch_size)


def _mean_over_images(
    model: Any, dataset: Dataset, per_image: Any, seed: int, batch_size: int
) -> Estimate:
    conditional = "label" in getattr(model, "needs", ())
    labels = dataset.labels if conditional else None
    if conditional and labels is None:
        raise UnigenError(
            f"'{dataset.name}' has no labels, but the model's bound is on log p(x | label): "
            "name labelled data."
        )
    with _evaluating(model), _seeded(seed, dataset.device):
        parts = []
        for first in range(0, len(dataset), batch_size):
            at = slice(first, first + batch_size)
            given = {} if labels is None else {"label": labels[at]}
            found = per_image(dataset.images(at), **given)
            parts.append(found.to("cpu", torch.float64))
    values = torch.cat(parts)
    if values.shape != (len(dataset),):
        raise UnigenError(
            f"The model returned {tuple(values.shape)} numbers for {len(dataset)} images: its elbo "
            "must give one per image, and its log_weights k per image."
        )
    spread = values.std().item() / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return Estimate(values.mean().item(), spread)


# --- scores of samples ----------------------------------------------------------------------------


@torch.no_grad()
def accuracy(classifier: nn.Module, dataset: Dataset, *, batch_size: int = 1000) -> float:
    """Fraction of labelled samples whose largest logit is that of their label.

    The plain frequency: unbiased, with standard error sqrt(a (1 - a) / N).

    Raises:
        UnigenError: the data have no labels.
    """
    if dataset.labels is None:
        raise UnigenError(f"'{dataset.name}' has no labels: accuracy needs them.")
    right = torch.zeros((), dtype=torch.int64, device=dataset.device)
    with _evaluating(classifier):
        for first in range(0, len(dataset), batch_size):
            at = slice(first, first + batch_size)
            right += (classifier(dataset.images(at)).argmax(1) == dataset.labels[at]).sum()
    return right.item() / len(dataset)


@torch.no_grad()
def inception_score(
    images: Tensor,
    *,
    splits: int = 10,
    classifier: ImageClassifier | None = None,
    seed: int = 0,
    batch_size: int = 1000,
) -> Score:
    """IS = exp E_x KL(p(c|x) || p(c)) = exp I(c;x): from 1 to the number of classes, here 10.

    Estimator (torchmetrics): shuffle by `seed`, cut into `splits` equal parts of m, and in each
    take exp of the mean KL(p(c|x_i) || the part's own mean prediction). Mean and standard deviation
    over the parts. Bias: log IS of a part is too small by E KL(its mean || p(c)), about 9/(2m) for
    confident predictions; exp adds a Jensen term upwards. So compare at equal n and `splits`, and
    read the number beside that of real test images. Blind to memorisation, to copies, and to every
    defect that leaves the class visible. Source: Salimans and others (2016), Improved Techniques
    for Training GANs; with a classifier of digits in place of Inception.

    Args:
        images: (n, *shape of the classifier's) in [0, 1]; n a multiple of `splits`.
        classifier: default `load_classifier()`, of digits.

    Raises:
        UnigenError: n is no multiple of `splits`, or the images do not fit.
    """
    if splits < 1 or len(images) == 0 or len(images) % splits:
        raise UnigenError(
            f"{len(images)} images cannot be cut into {splits} equal parts: choose another number "
            "of splits or of images."
        )
    from torchmetrics.image.inception import InceptionScore

    network = _classifier_for(images, classifier)
    with warnings.catch_warnings():
        # It warns of its buffer (n x 10 numbers here), and std of one split is nan by intention.
        warnings.simplefilter("ignore")
        # sync_on_compute: under torchrun one process may measure while the others train.
        metric = InceptionScore(
            feature=_LogProbabilities(network), splits=splits, sync_on_compute=False
        )
        with _evaluating(network), _seeded(seed, torch.device("cpu")):
            for part in torch.split(images, batch_size):
                metric.update(part)
            mean, sd = metric.compute()
    return Score(mean.item(), sd.item())


@torch.no_grad()
def frechet_distance(
    images_a: Tensor,
    images_b: Tensor,
    *,
    classifier: ImageClassifier | None = None,
    batch_size: int = 1000,
) -> float:
    """FD = |m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^{1/2}) between the features of two sets.

    The squared Wasserstein-2 distance of the two Gaussians with the features' means and covariances
    (64 features of the shipped digit classifier by default, so *not* the FID of the literature).

    Estimator (torchmetrics): sample means and unbiased covariances in float64. Bias: upwards, about
    proportional to 1/n; two samples of one distribution have FD > 0. So fix n, and read the number
    beside that of two sets of real images. Source: Heusel and others (2017), GANs Trained by a Two
    Time-Scale Update Rule; Dowson & Landau (1982) for the closed form.

    Args:
        images_a, images_b: (n, *shape of the classifier's) in [0, 1], at least two each. The order
            does not matter.
        classifier: default `load_classifier()`, of digits.

    Raises:
        UnigenError: fewer than two images, or images that do not fit.
    """
    if min(len(images_a), len(images_b)) < 2:
        raise UnigenError("A covariance needs two images: give at least two in each set.")
    from torchmetrics.image.fid import FrechetInceptionDistance

    network = _classifier_for(images_a, classifier)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # notices about optional packages
        metric = FrechetInceptionDistance(feature=_Features(network), sync_on_compute=False)
        with _evaluating(network):
            for images, real in ((images_a, True), (images_b, False)):
                _check_unit(images)
                for part in torch.split(images, batch_size):
                    metric.update(part, real=real)
            found = metric.compute()
    return max(found.item(), 0.0)  # rounding can leave -1e-13 between equal sets


def gaussian_frechet_distance(
    mean_a: Tensor, covariance_a: Tensor, mean_b: Tensor, covariance_b: Tensor
) -> Tensor:
    """Squared Wasserstein-2 distance of N(m_a, C_a) and N(m_b, C_b) in closed form, in float64.

    tr (C_a^{1/2} C_b C_a^{1/2})^{1/2} is the nuclear norm of L_a' L_b for any roots C = L L'. Roots
    come from eigenvalues clamped at zero, so singular covariances are welcome and no square root of
    a non-symmetric matrix is taken. Source: Dowson & Landau (1982).

    Args:
        mean_a, mean_b: (D,). covariance_a, covariance_b: (D, D), symmetric and not negative.
    """

    def root(covariance: Tensor) -> Tensor:
        values, vectors = torch.linalg.eigh(covariance.to(torch.float64))
        return vectors * values.clamp(min=0.0).sqrt()

    root_a, root_b = root(covariance_a), root(covariance_b)
    shift = (mean_a.to(torch.float64) - mean_b.to(torch.float64)).square().sum()
    spread = root_a.square().sum() + root_b.square().sum()
    return shift + spread - 2.0 * torch.linalg.matrix_norm(root_a.mT @ root_b, ord="nuc")


class _Features(nn.Module):
    """The classifier's features as torchmetrics asks for them: images -> (B, F) float64."""

    def __init__(self, classifier: ImageClassifier):
        super().__init__()
        self.classifier = classifier
        self.num_features = classifier.num_features

    def forward(self, images: Tensor) -> Tensor:
        # The statistics are gathered on the CPU: not every GPU has float64.
        return self.classifier.features(images).to("cpu", torch.float64)


class _LogProbabilities(nn.Module):
    """images -> log p(c|x) (B, 10) float64.

    torchmetrics computes p (log p - log mean p) and would meet 0 (-inf) when every p in a split
    underflows. In float64, with log p held above -700, no probability is zero.
    """

    def __init__(self, classifier: ImageClassifier):
        super().__init__()
        self.classifier = classifier

    def forward(self, images: Tensor) -> Tensor:
        logits = self.classifier(images).to("cpu", torch.float64)
        return torch.log_softmax(logits, 1).clamp(min=-700.0)


def _classifier_for(images: Tensor, classifier: ImageClassifier | None) -> ImageClassifier:
    _check_unit(images)
    return load_classifier(images.device) if classifier is None else classifier


def _check_unit(images: Tensor) -> None:
    """Scores of bytes, or of images in [-1, 1], look plausible and are wrong: stop them here."""
    low, high = images.min().item(), images.max().item()
    if not (low >= 0.0 and high <= 1.0):  # nan fails as well
        raise UnigenError(
            f"The images have values from {low:g} to {high:g}, not in [0, 1]: divide bytes by 255, "
            "or undo the normalisation."
        )


# --- coverage -------------------------------------------------------------------------------------


def coverage(assigned: Tensor, num_modes: int) -> Coverage:
    """Coverage of modes 0..K-1 by samples assigned to them; -1 marks a sample that is in no mode.

    Estimator: the plain histogram. Bias: a perfect sampler of n points has
    E[modes] = K (1 - (1 - 1/K)^n) and E[KL] of about (K - 1) / (2n), not 0. Source: the count and
    this direction of the KL are those of Metz and others (2017), Unrolled GANs.

    Args:
        assigned: (n,) int64 from -1 to K - 1.
    """
    kept = assigned[assigned >= 0]
    counts = torch.bincount(kept.cpu(), minlength=num_modes).to(torch.float64)
    if len(counts) != num_modes:
        raise UnigenError(
            f"A sample is assigned to mode {len(counts) - 1}, but there are only {num_modes} modes."
        )
    kl = math.nan
    if len(kept):
        share = counts / counts.sum()
        kl = max(math.log(num_modes) + torch.xlogy(share, share).sum().item(), 0.0)
    return Coverage(
        modes=int((counts > 0).sum()),
        num_modes=num_modes,
        kl_hist_uniform=kl,
        assigned=len(kept) / len(assigned) if len(assigned) else 0.0,
        samples=len(assigned),
    )


@torch.no_grad()
def modes_covered(points: Tensor, toy: Toy) -> Coverage:
    """Coverage of a toy's modes: a point counts within three standard deviations of its mode.

    Args:
        points: (n, 2). toy: for example `data.toy("ring")`.
    """
    if points.dim() != 2 or points.shape[1] != 2:
        raise UnigenError(f"Points in the plane have shape (n, 2), not {tuple(points.shape)}.")
    return coverage(toy.mode_of(points), toy.num_modes)


@torch.no_grad()
def classes_covered(
    images: Tensor, *, classifier: ImageClassifier | None = None, batch_size: int = 1000
) -> Coverage:
    """Coverage of the ten classes: each image counts for the class of its largest logit.

    Every image is assigned, however poor it is, so `assigned` is 1; read it beside the score.
    """
    network = _classifier_for(images, classifier)
    with _evaluating(network):
        found = [network(part).argmax(1) for part in torch.split(images, batch_size)]
    return coverage(torch.cat(found), network.num_classes)


def expected_modes(n: int, num_modes: int) -> float:
    """E[number of distinct modes] in n draws of a perfect sampler: K (1 - (1 - 1/K)^n)."""
    if num_modes == 1:
        return float(n > 0)
    return -num_modes * math.expm1(n * math.log1p(-1.0 / num_modes))


# --- everything at once ---------------------------------------------------------------------------


@torch.no_grad()
def evaluate(
    model: Model,
    data_name: str,
    *,
    k: int = 50,
    samples: int | None = None,
    seed: int = 0,
    root: str | Path | None = None,
    verify: bool = True,
    classifier: ImageClassifier | None = None,
) -> dict[str, Any]:
    """Every metric that applies to `model`, as numbers that JSON can hold.

    * A model with `log_weights`: ELBO and IWAE bound on the test set, with standard errors. A
      Bernoulli likelihood is measured on the test set's fixed binarisation (`BINARISATION_SEED`),
      any other on grey levels in [0, 1].
    * A model with `sample`, on images whose classes a classifier knows (`classifier.READ_AS`):
      inception score, Frechet distance to the test set, classes covered. Beside the first two
      stand the values for real images: of the test set, and of as many training images against
      the test set.
    * A model with `sample`, on points: modes covered.
    * What the model's own `own_metrics(test_set)` reports.

    Args:
        data_name: data set of the comparison; loaded in the model's shape.
        k: draws per image of the IWAE bound.
        samples: number of samples; default as many as the test set has images. Scores want a
            multiple of ten.
        seed: of all draws. Same model, seed and device: same numbers.
        root, verify: as in `data.load`.
        classifier: that scores the samples; default `classifier_of(data_name)`, which trains one
            of colours at its first use.

    Raises:
        UnigenError: data of another shape than the model's, or no metric that applies.
    """
    base = data_name.partition("+")[0]  # the first domain: "mnist-mini+100", "ring+grid"
    painted = "/" in base
    side = model.shape[-1] if len(model.shape) == 3 else None
    how: dict[str, Any] = {"device": model.device, "root": root, "verify": verify}
    test_set = data.load(data_name, "test", size=side, **how)
    if test_set.shape != model.shape:
        raise UnigenError(
            f"'{data_name}' has samples of shape {test_set.shape}, but the model makes "
            f"{model.shape}: name the data that it was trained on."
        )
    found: dict[str, Any] = {"seed": seed, "test_set": len(test_set)}
    if hasattr(model, "log_weights"):
        found |= _bounds(model, test_set, k, seed)
    colours = data.SOURCES[base].shape[0] if base in READ_AS else None
    known = colours == model.shape[0] and side in ((28, 32) if colours == 1 else (32,))
    readable = base in data.toy_names() or (known and not painted)
    if type(model).sample is not Model.sample and readable:
        n = samples if samples is not None else len(test_set) // 10 * 10
        with _evaluating(model), _seeded(seed, model.device):
            drawn = torch.cat([model.sample(min(1000, n - at)) for at in range(0, n, 1000)])
        found["samples"] = n
        if side is None:
            found |= _flat("modes", modes_covered(drawn, data.toy(base)))
        else:
            train_set = data.load(base, "train", size=side, **how)
            if classifier is None:
                classifier = classifier_of(base, drawn.device, root=root, verify=verify)
            found |= _image_scores(drawn, train_set, test_set, seed, classifier)
    own_metrics = getattr(model, "own_metrics", None)
    if callable(own_metrics):
        with torch.no_grad(), _evaluating(model), _seeded(seed, model.device):
            found |= own_metrics(test_set)
    if len(found) == 2:
        raise UnigenError(
            f"No metric applies to the model '{model.name}' on '{data_name}': scores of samples "
            "need points, grey images of 28x28 or 32x32, or colour images of 32x32 whose classes a "
            f"classifier knows ({', '.join(READ_AS)}); bounds need log_weights."
        )
    return found


def _bounds(model: Any, test_set: Dataset, k: int, seed: int) -> dict[str, Any]:
    binary = len(test_set.shape) == 3 and model.config.get("likelihood", "bernoulli") == "bernoulli"
    measured = test_set.binarised(BINARISATION_SEED) if binary else test_set
    below = elbo(model, measured, seed=seed)
    tighter = iwae_bound(model, measured, k, seed=seed)
    found: dict[str, Any] = {}
    if len(test_set.shape) == 3:
        found["pixels"] = f"binarised (seed {BINARISATION_SEED})" if binary else "grey levels"
    return found | {
        "elbo": below.value,
        "elbo_standard_error": below.standard_error,
        "iwae": tighter.value,
        "iwae_standard_error": tighter.standard_error,
        "iwae_k": k,
    }


def _image_scores(
    drawn: Tensor, train_set: Dataset, test_set: Dataset, seed: int, classifier: ImageClassifier
) -> dict[str, Any]:
    side = classifier.shape[-1]
    drawn, real = _central(drawn, side), _central(test_set.images(), side)
    others = _central(train_set.images(slice(0, len(drawn))), side)
    score = inception_score(drawn, classifier=classifier, seed=seed)
    whole = real[: len(real) // 10 * 10]
    covered = classes_covered(drawn, classifier=classifier)
    return {
        "inception_score": score.mean,
        "inception_score_sd": score.sd,
        "inception_score_test_set": inception_score(whole, classifier=classifier, seed=seed).mean,
        "frechet_distance": frechet_distance(drawn, real, classifier=classifier),
        "frechet_distance_train_set": frechet_distance(others, real, classifier=classifier),
        **_flat("classes", covered),
    }


def _central(images: Tensor, side: int) -> Tensor:
    """The pixels in the middle: takes off the margin with which digits become 32x32."""
    margin = (images.shape[-1] - side) // 2
    return images[..., margin : margin + side, margin : margin + side]


def _flat(what: str, found: Coverage) -> dict[str, Any]:
    kl = found.kl_hist_uniform
    return {
        f"{what}_covered": found.modes,
        f"{what}_expected": expected_modes(found.samples, found.num_modes),
        f"{what}_kl_hist_uniform": None if math.isnan(kl) else kl,  # JSON has no nan
        f"{what}_assigned": found.assigned,
    }


@contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    """Evaluation mode inside, the former mode afterwards."""
    if not isinstance(model, nn.Module):
        yield
        return
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Random numbers from `seed` inside; the states of before afterwards."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
