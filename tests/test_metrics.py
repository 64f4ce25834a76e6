"""Metrics against closed forms: worlds in which the right number is known without sampling."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import Tensor, nn

from unigen_edu import classifier, data, metrics
from unigen_edu.classifier import ColourClassifier, DigitClassifier
from unigen_edu.data import Dataset
from unigen_edu.declarations import Model
from unigen_edu.errors import UnigenError

# --- bounds: probabilistic PCA, where log p(x) is known -------------------------------------------

D, Q, SIGMA = 5, 2, 0.7


class LinearGaussian:
    """z ~ N(0, I), x = W z + mu + sigma e; its encoder has the right mean, a chosen covariance.

    The posterior is N(M^-1 W'(x - mu), sigma^2 M^-1) with M = W'W + sigma^2 I.
    """

    def __init__(self, encoder: str):
        generator = torch.Generator().manual_seed(5)
        self.w = torch.randn(D, Q, generator=generator, dtype=torch.float64)
        self.w[:, 1] += self.w[:, 0]  # columns far from orthogonal: no diagonal covariance is exact
        self.mu = torch.randn(D, generator=generator, dtype=torch.float64)
        self.m = self.w.T @ self.w + SIGMA**2 * torch.eye(Q, dtype=torch.float64)
        exact = SIGMA**2 * torch.linalg.inv(self.m)
        best_diagonal = torch.diag(SIGMA**2 / self.m.diagonal())
        self.root = torch.linalg.cholesky(exact if encoder == "exact" else best_diagonal)
        covariance = self.w @ self.w.T + SIGMA**2 * torch.eye(D, dtype=torch.float64)
        self.marginal = torch.distributions.MultivariateNormal(self.mu, covariance)

    def data(self, n: int) -> Dataset:
        torch.manual_seed(6)
        return Dataset(self.marginal.sample((n,)).float(), name="linear", split="test")

    def log_weights(self, x: Tensor, k: int) -> Tensor:
        x = x.double()
        mean = (x - self.mu) @ self.w @ torch.linalg.inv(self.m)
        q = torch.distributions.MultivariateNormal(mean, scale_tril=self.root)
        z = q.sample((k,))
        x_given_z = torch.distributions.Normal(z @ self.w.T + self.mu, SIGMA)
        prior = torch.distributions.Normal(0.0, 1.0)
        return x_given_z.log_prob(x).sum(-1) + prior.log_prob(z).sum(-1) - q.log_prob(z)

    def elbo(self, x: Tensor) -> Tensor:
        return self.log_weights(x, 1)[0]


def test_with_the_exact_posterior_every_bound_is_the_log_likelihood():
    model = LinearGaussian("exact")
    test_set = model.data(300)
    values = model.marginal.log_prob(test_set.x.double())
    for found in (
        metrics.elbo(model, test_set, batch_size=128),
        metrics.iwae_bound(model, test_set, 1),
        metrics.iwae_bound(model, test_set, 7),
        metrics.iwae_bound(model, test_set, 120, batch_size=64),  # more than one chunk of draws
    ):
        assert found.value == pytest.approx(values.mean().item(), abs=1e-10)
        assert found.standard_error == pytest.approx(values.std().item() / math.sqrt(300), rel=1e-9)


def test_elbo_of_the_best_diagonal_encoder_misses_by_the_known_gap():
    model = LinearGaussian("diagonal")
    test_set = model.data(4000)
    log_p = model.marginal.log_prob(test_set.x.double())
    gap = 0.5 * (model.m.diagonal().log().sum() - torch.logdet(model.m))
    assert gap > 0.1  # else there is nothing to see
    # The same images on both sides: what is left is the noise of one draw each.
    noise = model.log_weights(test_set.x[:500], 200).std(0).mean() / math.sqrt(4000)
    found = metrics.elbo(model, test_set)
    assert found.value == pytest.approx((log_p.mean() - gap).item(), abs=5 * noise.item())


def test_iwae_bound_climbs_from_the_elbo_to_the_log_likelihood():
    model = LinearGaussian("diagonal")
    test_set = model.data(2000)
    log_p = model.marginal.log_prob(test_set.x.double()).mean().item()
    bounds = [metrics.iwae_bound(model, test_set, k).value for k in (1, 3, 10, 100)]
    assert bounds[0] == pytest.approx(metrics.elbo(model, test_set).value, abs=1e-12)
    assert bounds == sorted(bounds)
    assert bounds[1] - bounds[0] > 0.05
    assert bounds[-1] == pytest.approx(log_p, abs=0.02)


def test_chunks_of_draws_are_averaged_as_one():
    model = LinearGaussian("diagonal")
    test_set = model.data(20)
    torch.manual_seed(0)
    chunks = torch.cat([model.log_weights(test_set.x, size) for size in (50, 50, 20)])
    expected = (torch.logsumexp(chunks, 0) - math.log(120)).mean().item()
    assert metrics.iwae_bound(model, test_set, 120, seed=0).value == pytest.approx(expected)


def test_bounds_are_fixed_by_the_seed_and_leave_the_global_state_alone():
    model = LinearGaussian("diagonal")
    test_set = model.data(50)
    before = torch.get_rng_state()
    a, b, c = (metrics.iwae_bound(model, test_set, 5, seed=seed).value for seed in (1, 1, 2))
    assert a == b != c
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(UnigenError, match="k >= 1"):
        metrics.iwae_bound(model, test_set, 0)


def test_a_wrong_shape_from_the_model_is_reported():
    model = LinearGaussian("diagonal")
    model.elbo = lambda x: torch.zeros(())
    with pytest.raises((UnigenError, RuntimeError)):
        metrics.elbo(model, model.data(10))
    model.elbo = lambda x: torch.zeros(1)
    with pytest.raises(UnigenError, match="one per image"):
        metrics.elbo(model, model.data(10))


# --- scores: a classifier that reads its answer off the pixels ------------------------------------


class PixelReader(DigitClassifier):
    """Logits 900 x (the first ten pixels); features: the 64 pixels of the middle."""

    def features(self, x: Tensor) -> Tensor:
        return x[:, 0, 10:18, 10:18].flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        return 900.0 * x[:, 0, 0, :10]


def one_hot_images(classes: Tensor) -> Tensor:
    images = torch.zeros(len(classes), 1, 28, 28)
    images[torch.arange(len(classes)), 0, 0, classes] = 1.0
    return images


def middle(values: Tensor) -> Tensor:
    """Images whose 64 features are `values` (n, 64) in [0, 1]."""
    images = torch.zeros(len(values), 1, 28, 28)
    images[:, 0, 10:18, 10:18] = values.view(-1, 8, 8).float()
    return images


def test_inception_score_of_confident_uniform_predictions_is_ten():
    images = one_hot_images(torch.arange(200) % 10)
    found = metrics.inception_score(images, splits=1, classifier=PixelReader())
    assert found.mean == pytest.approx(10.0, rel=1e-12)


def test_inception_score_of_constant_predictions_is_one():
    found = metrics.inception_score(
        one_hot_images(torch.full((200,), 3)), splits=10, classifier=PixelReader()
    )
    assert found.mean == pytest.approx(1.0, abs=1e-12)  # not nan, though nine classes have p = 0
    assert found.sd == pytest.approx(0.0, abs=1e-12)


def test_inception_score_of_soft_predictions_equals_the_sum():
    images = torch.rand(60, 1, 28, 28, generator=torch.Generator().manual_seed(0)) / 450
    p = torch.softmax(900.0 * images[:, 0, 0, :10].double(), 1)
    expected = torch.special.xlogy(p, p / p.mean(0)).sum(1).mean().exp().item()
    found = metrics.inception_score(images, splits=1, classifier=PixelReader(), batch_size=7)
    assert found.mean == pytest.approx(expected, rel=1e-6)
    assert 1.0 < found.mean < 2.0


def test_inception_score_of_a_split_is_biased_as_stated():
    # One-hot predictions of a perfect sampler: E log IS_m = log 10 - E KL(p^_m || uniform).
    m, splits = 200, 500
    classes = torch.randint(10, (m * splits,), generator=torch.Generator().manual_seed(1))
    found = metrics.inception_score(
        one_hot_images(classes), splits=splits, classifier=PixelReader()
    )
    expected = 10.0 * math.exp(-9 / (2 * m))
    assert found.mean == pytest.approx(expected, abs=5 * found.sd / math.sqrt(splits) + 0.003)
    assert found.mean < 9.9


def test_inception_score_is_fixed_by_its_seed_and_needs_equal_parts():
    images = one_hot_images(torch.randint(10, (100,), generator=torch.Generator().manual_seed(2)))
    network = PixelReader()
    before = torch.get_rng_state()
    a, b, c = (metrics.inception_score(images, classifier=network, seed=seed) for seed in (0, 0, 1))
    assert a == b != c
    assert torch.equal(torch.get_rng_state(), before)
    for splits in (0, 3, 101):
        with pytest.raises(UnigenError, match="equal parts"):
            metrics.inception_score(images, splits=splits, classifier=PixelReader())


def test_frechet_distance_of_sets_with_known_moments():
    # Feature j takes m_j +- s_j with the signs of a Hadamard matrix: the sample covariance is
    # diagonal, and FD = |m_a - m_b|^2 + n/(n-1) sum (s_a - s_b)^2 exactly.
    signs = torch.ones(1, 1, dtype=torch.float64)
    for _ in range(7):
        signs = torch.cat((torch.cat((signs, signs), 1), torch.cat((signs, -signs), 1)))
    signs = signs[:, 1:65]  # 128 rows; columns of mean zero
    generator = torch.Generator().manual_seed(3)
    mean_a, mean_b = (
        0.4 + 0.2 * torch.rand(2, 64, generator=generator, dtype=torch.float64)
    ).unbind()
    sd_a, sd_b = (0.4 * torch.rand(2, 64, generator=generator, dtype=torch.float64)).unbind()
    expected = (mean_a - mean_b).square().sum() + 128 / 127 * (sd_a - sd_b).square().sum()
    a, b = middle(mean_a + sd_a * signs), middle(mean_b + sd_b * signs)
    for batch_size in (1000, 50):
        found = metrics.frechet_distance(a, b, classifier=PixelReader(), batch_size=batch_size)
        assert found == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("n", [400, 40])  # 40 images: singular covariances of 64 features
def test_frechet_distance_equals_the_closed_form_of_its_moments(n):
    generator = torch.Generator().manual_seed(4)
    mixing = torch.rand(64, 64, generator=generator)
    a = torch.rand(n, 64, generator=generator) @ mixing / 64
    b = torch.rand(n, 64, generator=generator).square() @ mixing.T / 64
    expected = metrics.gaussian_frechet_distance(
        a.double().mean(0), torch.cov(a.T.double()), b.double().mean(0), torch.cov(b.T.double())
    ).item()
    found = metrics.frechet_distance(middle(a), middle(b), classifier=PixelReader())
    assert found == pytest.approx(expected, abs=1e-6)
    assert expected > 1e-3
    other_way = metrics.frechet_distance(middle(b), middle(a), classifier=PixelReader())
    assert other_way == pytest.approx(found, abs=1e-6)
    assert metrics.frechet_distance(middle(a), middle(a), classifier=PixelReader()) < 1e-6


def test_gaussian_frechet_distance_equals_scipy_and_the_cost_of_the_linear_map():
    from scipy import linalg

    generator = torch.Generator().manual_seed(5)
    roots = torch.randn(2, 6, 6, generator=generator, dtype=torch.float64)
    mean_a, mean_b = torch.randn(2, 6, generator=generator, dtype=torch.float64).unbind()
    cov_a, cov_b = (roots @ roots.mT).unbind()
    found = metrics.gaussian_frechet_distance(mean_a, cov_a, mean_b, cov_b).item()
    root = torch.from_numpy(linalg.sqrtm((cov_a @ cov_b).numpy()).real)
    shift = (mean_a - mean_b).square().sum()
    assert found == pytest.approx((shift + (cov_a + cov_b - 2 * root).trace()).item(), rel=1e-9)
    # The optimal map T = C_a^-1/2 (C_a^1/2 C_b C_a^1/2)^1/2 C_a^-1/2 carries C_a to C_b ...
    half = torch.from_numpy(linalg.sqrtm(cov_a.numpy()).real)
    inner = torch.from_numpy(linalg.sqrtm((half @ cov_b @ half).numpy()).real)
    transport = torch.linalg.inv(half) @ inner @ torch.linalg.inv(half)
    assert torch.allclose(transport @ cov_a @ transport.T, cov_b)
    # ... and its expected squared length is the distance.
    move = torch.eye(6, dtype=torch.float64) - transport
    assert found == pytest.approx((shift + (move @ cov_a @ move.T).trace()).item(), rel=1e-9)


def test_gaussian_frechet_distance_of_points_and_of_one_dimension():
    zero = torch.zeros(3, 3)
    a, b = torch.tensor([0.0, 0, 0]), torch.tensor([1.0, 2, 2])
    assert metrics.gaussian_frechet_distance(a, zero, b, zero).item() == pytest.approx(9.0)
    one, nine = torch.tensor([[1.0]]), torch.tensor([[9.0]])
    found = metrics.gaussian_frechet_distance(a[:1], one, a[:1], nine).item()
    assert found == pytest.approx(4.0)  # (3 - 1)^2


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.full((10, 1, 28, 28), 255.0), "not in \\[0, 1\\]"),
        (torch.full((10, 1, 28, 28), -1.0), "not in \\[0, 1\\]"),
        (torch.full((10, 1, 28, 28), math.nan), "not in \\[0, 1\\]"),
        (torch.zeros(10, 1, 32, 32), "\\(B, 1, 28, 28\\)"),
        (torch.zeros(10, 1, 28, 28, dtype=torch.uint8), "uint8"),
    ],
)
def test_unfit_images_are_refused(images, message):
    network = DigitClassifier()
    fine = torch.zeros(10, 1, 28, 28)
    for score in (
        lambda: metrics.inception_score(images, classifier=network),
        lambda: metrics.frechet_distance(images, fine, classifier=network),
        lambda: metrics.frechet_distance(fine, images, classifier=network),
        lambda: metrics.classes_covered(images, classifier=network),
    ):
        with pytest.raises(UnigenError, match=message):
            score()


def test_frechet_distance_needs_two_images():
    one, two = torch.zeros(1, 1, 28, 28), torch.zeros(2, 1, 28, 28)
    with pytest.raises(UnigenError, match="at least two"):
        metrics.frechet_distance(one, two, classifier=PixelReader())


def test_accuracy_is_the_frequency_of_right_answers():
    classes = torch.arange(50) % 10
    images = (255 * one_hot_images(classes)).to(torch.uint8)
    labels = classes.clone()
    labels[:7] = (labels[:7] + 1) % 10
    found = metrics.accuracy(PixelReader(), Dataset(images, labels), batch_size=8)
    assert found == pytest.approx(43 / 50)
    with pytest.raises(UnigenError, match="no labels"):
        metrics.accuracy(PixelReader(), Dataset(images))


# --- coverage -------------------------------------------------------------------------------------


def test_coverage_counts_modes_and_measures_the_divergence():
    found = metrics.coverage(torch.tensor([0, 0, 2, 2, -1, -1, -1, -1]), 8)
    assert found.modes == 2
    assert found.kl_hist_uniform == pytest.approx(math.log(8 / 2))  # two equal modes of eight
    assert found.assigned == 0.5
    assert found.samples == 8
    uneven = metrics.coverage(torch.tensor([0, 0, 0, 1]), 2)
    assert uneven.kl_hist_uniform == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5))


def test_coverage_at_the_edges():
    none = metrics.coverage(torch.full((5,), -1), 3)
    assert (none.modes, none.assigned) == (0, 0.0)
    assert math.isnan(none.kl_hist_uniform)
    even = metrics.coverage(torch.arange(30) % 10, 10)
    assert (even.modes, even.kl_hist_uniform) == (10, pytest.approx(0.0, abs=1e-12))
    with pytest.raises(UnigenError, match="only 3 modes"):
        metrics.coverage(torch.tensor([3]), 3)


def test_a_perfect_sampler_covers_as_many_modes_as_expected():
    # K = 1000, n = 2500: 918.0 modes and KL 0.2229 in expectation, by exact binomial sums.
    assert metrics.expected_modes(2500, 1000) == pytest.approx(1000 * (1 - 0.999**2500), rel=1e-12)
    assert metrics.expected_modes(2500, 1000) == pytest.approx(918.0, abs=0.05)
    assert metrics.expected_modes(0, 10) == 0.0
    assert metrics.expected_modes(5, 1) == 1.0
    generator = torch.Generator().manual_seed(6)
    runs = [
        metrics.coverage(torch.randint(1000, (2500,), generator=generator), 1000)
        for _ in range(200)
    ]
    modes = torch.tensor([run.modes for run in runs], dtype=torch.float64)
    kl = torch.tensor([run.kl_hist_uniform for run in runs], dtype=torch.float64)
    root = math.sqrt(len(runs))
    assert modes.mean().item() == pytest.approx(
        metrics.expected_modes(2500, 1000), abs=5 * modes.std().item() / root
    )
    assert kl.mean().item() == pytest.approx(0.2229, abs=5 * kl.std().item() / root + 5e-5)


def test_modes_covered_of_a_toy():
    ring = data.toy("ring")
    draws = ring.sample(5000, torch.Generator().manual_seed(7))
    whole = metrics.modes_covered(draws, ring)
    assert whole.modes == 8
    assert whole.kl_hist_uniform < 0.01
    assert whole.assigned == pytest.approx(1 - math.exp(-4.5), abs=0.01)
    right_half = metrics.modes_covered(draws[draws[:, 0] > 0.5], ring)
    assert right_half.modes == 3
    assert right_half.kl_hist_uniform == pytest.approx(math.log(8 / 3), abs=0.01)
    assert metrics.modes_covered(torch.zeros(10, 2), ring).assigned == 0.0
    with pytest.raises(UnigenError, match="shape \\(n, 2\\)"):
        metrics.modes_covered(torch.zeros(10, 3), ring)


def test_classes_covered_counts_the_classifier_s_answers():
    found = metrics.classes_covered(
        one_hot_images(torch.tensor([1, 1, 4, 4, 4, 4])), classifier=PixelReader(), batch_size=4
    )
    assert (found.modes, found.num_modes, found.assigned) == (2, 10, 1.0)
    assert found.kl_hist_uniform == pytest.approx(
        math.log(10) + math.log(1 / 3) / 3 + 2 * math.log(2 / 3) / 3
    )


# --- evaluate -------------------------------------------------------------------------------------


class Sampler(Model):
    """A "model" whose samples are real images, or real images of one class."""

    name = "sampler"

    def __init__(self, shape, only: int | None = None):
        super().__init__(shape=shape, only=only)
        self.anchor = nn.Parameter(torch.zeros(1))
        name = "mnist-mini" if len(shape) == 3 else "ring"
        real = data.load(name, "train", seed=9, size=32 if shape == (1, 32, 32) else None)
        self.real = real if only is None else real.subset((real.labels == only).nonzero()[:, 0])

    def sample(self, n: int) -> Tensor:
        assert not self.training
        return self.real.images(torch.randint(len(self.real), (n,)))


class Black(Model):
    """All samples are black."""

    name = "black"

    def __init__(self, shape):
        super().__init__(shape=shape)
        self.anchor = nn.Parameter(torch.zeros(1))

    def sample(self, n: int) -> Tensor:
        return torch.zeros(n, *self.shape)


class LatentOnly(Model):
    """Bounds without a sampler: pixels are fair coins, log p(x) = -784 log 2 for binary images."""

    name = "latent-only"

    def __init__(self, shape, likelihood: str):
        super().__init__(shape=shape, likelihood=likelihood)
        self.anchor = nn.Parameter(torch.zeros(1))

    def elbo(self, x: Tensor) -> Tensor:
        return self.log_weights(x, 1)[0]

    def log_weights(self, x: Tensor, k: int) -> Tensor:
        binary = ((x == 0) | (x == 1)).all().item()
        assert binary == (self.config["likelihood"] == "bernoulli")
        return torch.full((k, len(x)), -784 * math.log(2.0))


def test_evaluate_scores_real_images_like_real_images():
    model = Sampler((1, 28, 28))
    model.train()
    found = metrics.evaluate(model, "mnist-mini", seed=3)
    assert model.training  # as it was
    assert found["samples"] == found["test_set"] == 2000
    assert found["inception_score"] == pytest.approx(found["inception_score_test_set"], abs=0.2)
    assert 9.0 < found["inception_score_test_set"] <= 10.0
    assert 0 < found["frechet_distance"] < 3 * found["frechet_distance_train_set"] + 0.5
    assert found["classes_covered"] == 10
    assert found["classes_kl_hist_uniform"] < 0.02
    assert "elbo" not in found
    json.dumps(found, allow_nan=False)
    assert metrics.evaluate(model, "mnist-mini", seed=3) == found


def test_evaluate_scores_colours_by_the_classifier_that_it_is_given(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(256, (600, 3, 32, 32), generator=generator).to(torch.uint8)
    labels = torch.arange(600) % 10
    asked = []

    def load(name, split, **how):
        asked.append((name, split, how["verify"]))
        return Dataset(x, labels, name=name, split=split, num_classes=10)

    def of_colours(name, device, *, root, verify):
        assert (name, verify) == ("svhn", False)
        torch.manual_seed(3)
        return ColourClassifier().eval()

    monkeypatch.setattr(metrics.data, "load", load)
    monkeypatch.setattr(metrics, "classifier_of", of_colours)
    black = Black((3, 32, 32))
    found = metrics.evaluate(black, "svhn", samples=500, verify=False)
    assert asked == [("svhn", "test", False), ("svhn", "train", False)]
    assert found["frechet_distance_train_set"] < 0.1 * found["frechet_distance"]
    assert found["inception_score"] == pytest.approx(1.0, abs=1e-6)  # all samples are one image
    grey = Dataset(x[:, :1], labels)
    monkeypatch.setattr(metrics.data, "load", lambda *given, **how: grey)
    with pytest.raises(UnigenError, match="No metric applies"):  # to a house number without colours
        metrics.evaluate(Black((1, 32, 32)), "svhn", samples=500)


@pytest.mark.parametrize(
    ("name", "reads"), [("mnist", "digits"), ("usps", "digits"), ("fashion-mnist", "clothes")]
)
def test_evaluate_reads_images_by_the_classifier_of_their_kind(name, reads, monkeypatch):
    asked = []
    load, load_classifier = data.load, classifier.load_classifier

    def noted(device, reads):
        asked.append(reads)
        return load_classifier(device, reads)

    # Digits in place of what the package does not ship.
    monkeypatch.setattr(metrics.data, "load", lambda _, *given, **more: load("mnist-mini", *given))
    monkeypatch.setattr(classifier, "load_classifier", noted)
    found = metrics.evaluate(Sampler((1, 28, 28)), name, samples=500)
    assert asked == [reads]
    # Digits look like digits to one of them only.
    assert (found["inception_score"] > 8) == (reads == "digits")


def test_evaluate_takes_the_margin_off_digits_of_32_pixels():
    small = metrics.evaluate(Sampler((1, 28, 28)), "mnist-mini", samples=200)
    large = metrics.evaluate(Sampler((1, 32, 32)), "mnist-mini", samples=200)
    assert large == small


def test_evaluate_sees_a_collapsed_model():
    found = metrics.evaluate(Sampler((1, 28, 28), only=4), "mnist-mini", samples=500)
    assert found["samples"] == 500
    assert found["inception_score"] < 1.5
    assert found["classes_covered"] < 10
    assert found["classes_kl_hist_uniform"] > 2.0  # log 10 = 2.303 for one class alone
    assert found["frechet_distance"] > 20 * found["frechet_distance_train_set"]


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_evaluate_measures_bounds_on_the_right_pixels(likelihood):
    found = metrics.evaluate(LatentOnly((1, 28, 28), likelihood), "mnist-mini", k=3)
    assert found["elbo"] == pytest.approx(-784 * math.log(2), rel=1e-6)
    assert found["iwae"] == pytest.approx(-784 * math.log(2), rel=1e-6)
    assert found["iwae_k"] == 3
    assert found["pixels"].startswith("binarised" if likelihood == "bernoulli" else "grey")
    assert "inception_score" not in found


def test_evaluate_on_points_and_on_what_does_not_fit():
    found = metrics.evaluate(Sampler((2,)), "ring", samples=2000)
    assert found["modes_covered"] == 8
    assert found["modes_assigned"] > 0.97
    assert found["modes_expected"] == pytest.approx(8.0)
    with pytest.raises(UnigenError, match="shape \\(2,\\)"):
        metrics.evaluate(Sampler((1, 28, 28)), "ring")

    class Mute(Model):
        name = "mute"

    mute = Mute(shape=(2,))
    mute.anchor = nn.Parameter(torch.zeros(1))
    with pytest.raises(UnigenError, match="No metric applies"):
        metrics.evaluate(mute, "ring")
