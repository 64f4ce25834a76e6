"""Chapter 17: every labelled equation, in worlds with a class that is known or missing.

Where the package trains a model by an equation, its own loss code runs on tables; the other side is
written out here: sums over classes, images and codes, gradients by autograd.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from unigen_edu.declarations import Batch, Sample
from unigen_edu.exact.checks import gap, gradient
from unigen_edu.exact.code_networks import (
    PairCodeWorld,
    TablePairDecoder,
    TablePairEncoder,
    TablePartDiscriminator,
)
from unigen_edu.exact.conditional import SemiSupervisedWorld
from unigen_edu.exact.conditional_networks import (
    ConditionalNoiseDiscriminator,
    ConditionalNoiseGenerator,
    ConditionalTableDecoder,
    ConditionalTableDiscriminator,
    ConditionalTableEncoder,
    ConditionalTableGenerator,
    TableClassifier,
)
from unigen_edu.exact.importance import (
    ConditionalImportanceWorld,
    FiniteNoiseWorld,
    self_normalised_mean_by_counts,
)
from unigen_edu.exact.networks import TableDiscriminator
from unigen_edu.models.aacvae import AACVAE
from unigen_edu.models.aae_semi import AAESemi
from unigen_edu.models.aasvae import AASVAE
from unigen_edu.models.cgan import CGAN
from unigen_edu.models.cvae import CVAE
from unigen_edu.models.iwcgan import IWCGAN
from unigen_edu.models.svae import SVAE

SEEDS = range(5)
K, X, Z = 3, 4, 2  # classes, images, codes
ALPHA, RHO = 0.7, 0.4
SEMI = [SemiSupervisedWorld.random(seed, n_c=K, n_x=X, n_z=Z) for seed in SEEDS]


def kl(p: Tensor, q: Tensor) -> Tensor:
    return (p * (p / q).log()).sum()


def entropy(p: Tensor) -> Tensor:
    return -(p * p.log()).sum()


def coin_entropy(p: Tensor) -> Tensor:
    return -(p * p.log() + (1 - p) * (1 - p).log())


def coins(p: Tensor, q: Tensor) -> Tensor:
    """KL of two coins with head probabilities p and q, elementwise."""
    return p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()


class Known:
    """A random world with a known class: p(c), data, a generator, a discriminator, codes."""

    def __init__(self, seed: int):
        g = torch.Generator().manual_seed(seed)

        def logits(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=g, dtype=torch.float64)

        self.p_c = logits(K).softmax(0)
        self.p_data = logits(K, X).softmax(1)
        self.theta = logits(K, X)  # of a generator
        self.a = logits(K, X)
        self.p_z = logits(Z).softmax(0)
        self.decoder = logits(K, Z, X)
        self.encoder = logits(K, X, Z)

    @property
    def pairs(self) -> Batch:
        """All (x, c) with the probabilities of the data."""
        weight = (self.p_c[:, None] * self.p_data).flatten()
        return Batch(torch.arange(X).repeat(K), torch.arange(K).repeat_interleave(X), weight)

    def p_x_given_c(self, t: Tensor | None = None) -> Tensor:
        """What the decoder makes, its code forgotten.  (K, X)"""
        return torch.einsum("z,czx->cx", self.p_z, (self.decoder if t is None else t).softmax(2))

    def minus_elbo(self, t: Tensor, e: Tensor) -> Tensor:
        """-ELBO(x|c).  (K, X)"""
        q = e.softmax(2)
        joint = (self.p_z[:, None] * t.softmax(2)).transpose(1, 2)
        return (q * (q / joint).log()).sum(2)


KNOWN = [Known(seed) for seed in SEEDS]


# ---- the conditional GAN -----------------------------------------------------------------------


def cgan(w: Known) -> CGAN:
    model = CGAN(shape=(2,), latent=1, classes=K)
    model.generator = ConditionalTableGenerator(w.theta, w.p_c)
    model.discriminator = ConditionalTableDiscriminator(w.a)
    return model


@pytest.mark.equation("eq-conditional-phi", "eq-conditional-phi-kl", "eq-conditional-theta")
def test_the_losses_of_the_conditional_gan(measure):
    for w in KNOWN:
        p_g, model = w.theta.softmax(1), cgan(w)
        per_class = [
            0.5 * w.p_data[c] @ softplus(-w.a[c]) + 0.5 * p_g[c] @ softplus(w.a[c])
            for c in range(K)
        ]
        value = sum(w.p_c[c] * per_class[c] for c in range(K))
        assert measure("eq-conditional-phi", model.loss("discriminator", w.pairs).value, value)
        best = w.p_data / (w.p_data + p_g)
        pool = w.p_c[:, None] * (w.p_data + p_g) / 2
        right = (pool * (coins(best, w.a.sigmoid()) + coin_entropy(best))).sum()
        assert measure("eq-conditional-phi-kl", value, right)
        # -L_theta = -E_{p(c) p(y) p(x|c,y)} log q^r(y|x,c); the model leaves its constant out
        D = w.a.sigmoid()
        whole = -0.5 * (w.p_c[:, None] * (p_g * D.log() + w.p_data * (1 - D).log())).sum()
        constant = 0.5 * (w.p_c[:, None] * w.p_data * softplus(w.a)).sum()
        moving = 0.5 * (w.p_c[:, None] * p_g * softplus(-w.a)).sum()
        assert measure("eq-conditional-theta", whole, moving + constant)
        assert measure("eq-conditional-theta", model.loss("generator", w.pairs).value, moving)


@pytest.mark.equation("eq-conditional-gradient")
def test_lemma_1_in_every_class(measure):
    for w in KNOWN:
        model = cgan(w)
        loss = model.loss("generator", w.pairs).value
        (found,) = torch.autograd.grad(loss, list(model.generator.parameters()))
        q_r = torch.stack([w.a.sigmoid(), 1 - w.a.sigmoid()])  # (y, K, X)
        frozen = (w.theta.softmax(1) + w.p_data) / 2
        target = q_r * frozen / (q_r * frozen).sum(2, keepdim=True)

        def claim(t: Tensor, w=w, target=target) -> Tensor:
            total = torch.zeros((), dtype=torch.float64)
            for c in range(K):
                laws = [t[c].softmax(0), w.p_data[c]]
                mixture = (laws[0] + laws[1]) / 2
                for y in (0, 1):
                    part = kl(laws[y], target[y, c]) - kl(laws[y], mixture)
                    total = total + w.p_c[c] * 0.5 * part
            return total

        assert measure("eq-conditional-gradient", found, gradient(claim, w.theta))
        assert found.abs().max() > 1e-3


@pytest.mark.equation("eq-conditional-blind", "eq-conditional-shift")
def test_a_blind_discriminator_and_other_class_frequencies(measure):
    for w in KNOWN:
        p_g, a = w.theta.softmax(1), w.a[0]
        left = sum(w.p_c[c] * 0.5 * p_g[c] @ softplus(-a) for c in range(K))
        assert measure("eq-conditional-blind", left, 0.5 * (w.p_c @ p_g) @ softplus(-a))
        other = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
        real, made = w.p_c[:, None] * w.p_data, other[:, None] * p_g

        def cross_entropy(a: Tensor, real=real, made=made) -> Tensor:
            return (real * softplus(-a) + made * softplus(a)).sum() / 2

        claimed = (w.p_data / p_g).log() + (w.p_c / other).log()[:, None]
        assert measure("eq-conditional-shift", gradient(cross_entropy, claimed), torch.zeros(K, X))
        assert measure("eq-conditional-shift", torch.logit(real / (real + made)), claimed)


# ---- importance weights ------------------------------------------------------------------------


@pytest.mark.equation("eq-conditional-iw-step")
def test_the_importance_weighted_step_in_every_class(measure):
    k, codes = 2, 3
    for seed in SEEDS:
        worlds = tuple(FiniteNoiseWorld.random(10 * seed + c, n_z=codes) for c in range(2))
        p_c = torch.tensor([0.3, 0.7], dtype=torch.float64)
        model = IWCGAN(shape=(2,), latent=1, k=k, classes=2)
        model.generator = ConditionalNoiseGenerator(worlds, p_c)
        model.discriminator = ConditionalNoiseDiscriminator(worlds)
        label = torch.arange(2).repeat_interleave(codes**k)
        batch = Batch(torch.zeros(len(label), dtype=torch.float64), label)
        loss = model.loss("generator", batch).value
        (found,) = torch.autograd.grad(loss, list(model.generator.parameters()))
        steps = []
        for w in worlds:
            step = torch.zeros_like(w.theta0)
            for i in range(codes):
                for j in range(codes):
                    shares = w.a()[[i, j]].softmax(0)
                    pair = w.grad_log_D()[[i, j]]
                    step = step + w.p_z[i] * w.p_z[j] * (shares[:, None] * pair).sum(0)
            steps.append(step)
        assert measure("eq-conditional-iw-step", found, -0.5 * p_c[:, None] * torch.stack(steps))


def tilted_at(w: ConditionalImportanceWorld, k: int) -> Tensor:
    """Share of each class in groups of k draws of mixed classes."""
    n_c, n_x = w.a.shape
    of_class = torch.eye(n_c, dtype=torch.float64).repeat_interleave(n_x, dim=1)
    law, weight = (w.p_c[:, None] * w.p_g_given_c).flatten(), w.a.exp().flatten()
    return torch.stack([self_normalised_mean_by_counts(law, weight, f, k) for f in of_class])


@pytest.mark.equation("eq-conditional-mixed")
def test_mixed_groups_tilt_the_classes(measure):
    for seed in SEEDS:
        w = ConditionalImportanceWorld.random(seed)
        mean_weight = (w.p_g_given_c * w.a.exp()).sum(1)
        share = w.p_c * mean_weight / (w.p_c @ mean_weight)
        ceilings = (w.p_c @ mean_weight).log() - w.p_c @ mean_weight.log()
        assert measure("eq-conditional-mixed", ceilings, kl(w.p_c, share))
        # the share at k draws is s + C/k + ...: two values of k take out C
        laws = [tilted_at(w, k) for k in (10, 20)]
        assert measure("eq-conditional-mixed", 2 * laws[1] - laws[0], share, tolerance=0.01)
        assert gap(share, w.p_c) > 0.01
        within = w.class_law(3, mixed=False)
        assert gap(within, w.p_c) < 1e-12


# ---- the conditional VAE -----------------------------------------------------------------------


def autoencoder(model_class: type[CVAE], w: Known) -> CVAE:
    model = model_class(shape=(2,), likelihood="gaussian", latent=1, classes=K)
    model.encoder = ConditionalTableEncoder(w.encoder, w.p_z)
    model.decoder = ConditionalTableDecoder(w.decoder)
    return model


@pytest.mark.equation(
    "eq-conditional-elbo", "eq-conditional-joint-kl", "eq-conditional-information"
)
def test_the_bound_given_the_class(measure):
    for w in KNOWN:
        q, p_z = w.encoder.softmax(2), w.p_z
        joint = (p_z[:, None] * w.decoder.softmax(2)).transpose(1, 2)  # p(x, z|c), (K, X, Z)
        p_x = joint.sum(2)
        model = autoencoder(CVAE, w)
        found = model.elbo(w.pairs.x, w.pairs.label).reshape(K, X)
        first = (q * (joint / p_z).log()).sum(2) - (q * (q / p_z).log()).sum(2)
        second = p_x.log() - (q * (q / (joint / p_x[..., None])).log()).sum(2)
        assert measure("eq-conditional-elbo", first, second)
        assert measure("eq-conditional-elbo", found, second)
        per_class = [
            kl(w.p_data[c][:, None] * q[c], joint[c]) + entropy(w.p_data[c]) for c in range(K)
        ]
        right = sum(w.p_c[c] * per_class[c] for c in range(K))
        assert measure("eq-conditional-joint-kl", model.loss("variational", w.pairs).value, right)
        mixture = w.p_c @ p_x
        left = (w.p_c[:, None] * p_x * (p_x.log() - mixture.log())).sum()
        pair = w.p_c[:, None] * p_x
        information = kl(pair, w.p_c[:, None] * mixture)
        assert measure("eq-conditional-information", left, information)
        assert measure("eq-conditional-information", information, entropy(w.p_c), relation="<=")


class ListedAACVAE(AACVAE):
    """The package's AACVAE, its samples listed."""

    name = "aacvae-of-the-equations"
    made: Tensor

    def dreams(self, batch: Batch) -> Batch:
        c = torch.arange(K).repeat_interleave(X)
        return Batch(torch.arange(X).repeat(K), c, self.made.flatten())


@pytest.mark.equation("eq-conditional-aacvae-step", "eq-conditional-aacvae-bayes")
def test_the_adversary_activated_conditional_vae(measure):
    for w in KNOWN:
        p_g = w.p_x_given_c()
        pool = w.p_c[:, None] * (w.p_data + p_g) / 2
        cost = w.minus_elbo(w.decoder, w.encoder)
        model = autoencoder(ListedAACVAE, w)
        model.made = w.p_c[:, None] * p_g
        model.discriminator = ConditionalTableDiscriminator(w.a)
        value = (pool * w.a.sigmoid() * cost).sum()
        assert measure(
            "eq-conditional-aacvae-step", model.loss("variational", w.pairs).value, value
        )
        z_0 = (pool * w.a.sigmoid()).sum()
        believed = pool * w.a.sigmoid() / z_0
        joint = (w.p_z[:, None] * w.decoder.softmax(2)).transpose(1, 2)
        divergence = kl(believed[..., None] * w.encoder.softmax(2), w.p_c[:, None, None] * joint)
        right = divergence + entropy(believed) + believed.sum(1) @ w.p_c.log()
        assert measure("eq-conditional-aacvae-step", value, z_0 * right)
        best = w.p_data / (w.p_data + p_g)
        half = 0.5 * (w.p_c[:, None] * w.p_data * cost).sum()
        assert measure("eq-conditional-aacvae-bayes", (pool * best * cost).sum(), half)

        def of(D: Tensor, w=w, pool=pool) -> Callable[[Tensor], Tensor]:
            return lambda t: (pool * D * w.minus_elbo(t, w.encoder)).sum()

        def plain(t: Tensor, w=w) -> Tensor:
            return 0.5 * (w.p_c[:, None] * w.p_data * w.minus_elbo(t, w.encoder)).sum()

        wanted = gradient(plain, w.decoder)
        assert measure("eq-conditional-aacvae-bayes", gradient(of(best), w.decoder), wanted)
        blind = ((w.p_c @ w.p_data) / (w.p_c @ (w.p_data + p_g))).expand(K, X)
        assert gap(gradient(of(blind), w.decoder), wanted) > 1e-4


# ---- M2 ----------------------------------------------------------------------------------------


def model_joint(w: SemiSupervisedWorld, t: Tensor) -> Tensor:
    """p_theta(x, z, c) by its factors.  (K, X, Z)"""
    return (w.p_z[:, None] * t.softmax(2)).transpose(1, 2) / K


def pair_cost(w: SemiSupervisedWorld, t: Tensor, e: Tensor) -> Tensor:
    """L(x, c).  (K, X)"""
    q = e.softmax(2)
    return (q * (q / model_joint(w, t)).log()).sum(2)


def image_cost(w: SemiSupervisedWorld, t: Tensor, e: Tensor, s: Tensor) -> Tensor:
    """U(x), a sum over classes and codes.  (X,)"""
    q = s.softmax(1).T[..., None] * e.softmax(2)
    return (q * (q / model_joint(w, t)).log()).sum((0, 2))


def objective(w: SemiSupervisedWorld, t: Tensor, e: Tensor, s: Tensor, alpha: float = ALPHA):
    labels = RHO * pair_cost(w, t, e) - alpha * s.log_softmax(1).T
    return (w.p_data * image_cost(w, t, e, s)).sum() + (w.p_lab * labels).sum()


def three_gradients(f: Callable[..., Tensor], w: SemiSupervisedWorld) -> Tensor:
    t, e, s = w.theta0, w.eta0, w.psi0
    parts = [
        gradient(lambda t: f(t, e, s), t),
        gradient(lambda e: f(t, e, s), e),
        gradient(lambda s: f(t, e, s), s),
    ]
    return torch.cat([part.flatten() for part in parts])


def svae(w: SemiSupervisedWorld, model_class: type[SVAE] = SVAE) -> tuple[SVAE, Batch]:
    model = model_class(
        shape=(2,), likelihood="gaussian", latent=1, classes=K, alpha=ALPHA, rho=RHO
    )
    model.encoder = ConditionalTableEncoder(w.eta0, w.p_z)
    model.decoder = ConditionalTableDecoder(w.theta0)
    model.classifier = TableClassifier(w.psi0)
    label = torch.arange(K).repeat_interleave(X)
    other = Batch(torch.arange(X).repeat(K), label, w.p_lab.flatten())
    return model, Batch(torch.arange(X), weight=w.p_data, other=other)


@pytest.mark.equation("eq-conditional-pair", "eq-conditional-unlabelled", "eq-conditional-slack")
def test_images_with_and_without_a_class(measure):
    for w in SEMI:
        t, e, s = w.theta0, w.eta0, w.psi0
        joint, q_z, q_c = model_joint(w, t), e.softmax(2), s.softmax(1).T
        L, U = pair_cost(w, t, e), image_cost(w, t, e, s)
        given_c = (w.p_z[:, None] * t.softmax(2)).transpose(1, 2)
        elbo = (q_z * (given_c / q_z).log()).sum(2)
        assert measure("eq-conditional-pair", L, -elbo - math.log(1 / K))
        p_xc = joint.sum(2)
        to_code = (q_z * (q_z / (joint / p_xc[..., None])).log()).sum(2)
        assert measure("eq-conditional-pair", -L, p_xc.log() - to_code)
        h = -(q_c * q_c.log()).sum(0)
        assert measure("eq-conditional-unlabelled", U, (q_c * L).sum(0) - h)
        model, batch = svae(w)
        assert measure("eq-conditional-unlabelled", -model.elbo(batch.x), U)
        p_x = p_xc.sum(0)
        to_class = (q_c * (q_c / (p_xc / p_x)).log()).sum(0)
        assert measure("eq-conditional-slack", p_x.log() + U, to_class + (q_c * to_code).sum(0))


@pytest.mark.equation("eq-conditional-classifier")
def test_the_best_classifier_for_a_decoder(measure):
    for w in SEMI:
        t, e = w.theta0, w.eta0
        L = pair_cost(w, t, e)
        claimed = (-L).softmax(0)
        least = image_cost(w, t, e, claimed.log().T)
        assert measure("eq-conditional-classifier", least, -(-L).exp().sum(0).log())
        slope = gradient(lambda s, w=w, t=t, e=e: image_cost(w, t, e, s).sum(), claimed.log().T)
        assert measure("eq-conditional-classifier", slope, torch.zeros(X, K))
        assert (image_cost(w, t, e, w.psi0) > least + 1e-6).all()


@pytest.mark.equation("eq-conditional-m2", "eq-conditional-labels")
def test_the_objective_of_m2(measure):
    for w in SEMI:
        t, e, s = w.theta0, w.eta0, w.psi0
        model, batch = svae(w)
        value = objective(w, t, e, s)
        assert measure("eq-conditional-m2", model.loss("variational", batch).value, value)
        joint, q_z, q_c = model_joint(w, t), e.softmax(2), s.softmax(1).T
        p_lab_x = w.p_lab.sum(0)
        of_labels = (w.p_lab * (w.p_lab / p_lab_x / q_c).log()).sum()
        divergences = (
            kl(w.p_data[:, None] * q_c[..., None] * q_z, joint)
            + RHO * kl(w.p_lab[..., None] * q_z, joint)
            + ALPHA * of_labels
        )
        h_labels = -(w.p_lab * (w.p_lab / p_lab_x).log()).sum()
        constants = entropy(w.p_data) + RHO * entropy(w.p_lab) + ALPHA * h_labels
        assert measure("eq-conditional-m2", value, divergences + constants)
        # labels and the classifier: in the package's model with alpha = 0
        model.alpha = 0.0
        classifier = list(model.classifier.parameters())
        with_labels = torch.autograd.grad(model.loss("variational", batch).value, classifier)[0]
        (without,) = torch.autograd.grad(w.p_data @ -model.elbo(batch.x), classifier)
        assert measure("eq-conditional-labels", with_labels - without, torch.zeros(X, K))


def bisect(rising: Callable[[Tensor], Tensor], low: Tensor, high: Tensor) -> Tensor:
    """Where rising functions, elementwise, are zero."""
    for _ in range(80):
        middle = (low + high) / 2
        above = rising(middle) > 0
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return (low + high) / 2


@pytest.mark.equation("eq-conditional-alpha")
def test_what_decoder_and_labels_agree_upon(measure):
    """Solve the condition for q at every image: there the objective of M2 is stationary in psi."""
    for w in SEMI:
        t, e = w.theta0, w.eta0
        L, pull = pair_cost(w, t, e), ALPHA * w.p_lab / w.p_data

        def log_q(const: Tensor, L=L, pull=pull) -> Tensor:
            def rising(v: Tensor) -> Tensor:
                return v + L - pull / v.exp() - const

            return bisect(rising, torch.full_like(L, -60.0), torch.full_like(L, 60.0))

        const = bisect(
            lambda const, f=log_q: f(const).exp().sum(0) - 1,
            torch.full((X,), -1e3, dtype=torch.float64),
            torch.full((X,), 1e3, dtype=torch.float64),
        )
        s = log_q(const).T
        assert gap(s.exp().sum(1), torch.ones(X)) < 1e-11
        slope = gradient(lambda s, w=w, t=t, e=e: objective(w, t, e, s), s)
        assert measure("eq-conditional-alpha", slope, torch.zeros(X, K))
        assert gap(s.exp().T, (-L).softmax(0)) > 1e-3  # the labels count
        assert objective(w, t, e, s) < objective(w, t, e, s + 0.1 * w.psi0)


# ---- M2 with adversaries -----------------------------------------------------------------------


class ListedAASVAE(AASVAE):
    """The package's AASVAE, its samples listed."""

    name = "aasvae-of-the-equations"
    images_made: Tensor
    pairs_made: Tensor

    def dreams(self, batch: Batch) -> Batch:
        if batch.label is None:
            return Batch(torch.arange(X), weight=self.images_made)
        label = torch.arange(K).repeat_interleave(X)
        return Batch(torch.arange(X).repeat(K), label, self.pairs_made.flatten())


@pytest.mark.equation(
    "eq-conditional-aasvae-phi", "eq-conditional-aasvae-step", "eq-conditional-aasvae-bayes"
)
def test_m2_with_two_adversaries(measure):
    for w in SEMI:
        t, e, s = w.theta0, w.eta0, w.psi0
        p_xc = model_joint(w, t).sum(2)
        made = p_xc.sum(0)
        fakes = w.p_lab.sum(1, keepdim=True) * p_xc * K
        m_u, m_l = (w.p_data + made) / 2, (w.p_lab + fakes) / 2
        best_u, best_l = w.p_data / (w.p_data + made), w.p_lab / (w.p_lab + fakes)
        D_u, D_l = w.phi_u.sigmoid(), w.phi_l.sigmoid()
        model, batch = svae(w, ListedAASVAE)
        model.images_made, model.pairs_made = made, fakes
        model.discriminator = TableDiscriminator(w.phi_u)
        model.pair_discriminator = ConditionalTableDiscriminator(w.phi_l)
        of_images = (m_u * (coins(best_u, D_u) + coin_entropy(best_u))).sum()
        of_pairs = (m_l * (coins(best_l, D_l) + coin_entropy(best_l))).sum()
        found = model.loss("discriminator", batch).value
        assert measure("eq-conditional-aasvae-phi", found, of_images + of_pairs)
        written_out = 0.5 * (w.p_data * softplus(-w.phi_u) + made * softplus(w.phi_u)).sum()
        written_out += 0.5 * (w.p_lab * softplus(-w.phi_l) + fakes * softplus(w.phi_l)).sum()
        assert measure("eq-conditional-aasvae-phi", written_out, of_images + of_pairs)

        def activated(t, e, s, D_u=D_u, D_l=D_l, w=w, m_u=m_u, m_l=m_l) -> Tensor:
            labels = RHO * pair_cost(w, t, e) - ALPHA * s.log_softmax(1).T
            return (m_u * D_u * image_cost(w, t, e, s)).sum() + (m_l * D_l * labels).sum()

        u, l = m_u * D_u, m_l * D_l
        z_u, z_l = u.sum(), l.sum()

        def reduced(t, e, s, u=u / z_u, l=l / z_l, z_u=z_u, z_l=z_l, w=w) -> Tensor:
            joint, q_z, q_c = model_joint(w, t), e.softmax(2), s.softmax(1).T
            classifier = (l * (l / l.sum(0) / q_c).log()).sum()
            return (
                z_u * kl(u[:, None] * q_c[..., None] * q_z, joint)
                + RHO * z_l * kl(l[..., None] * q_z, joint)
                + ALPHA * z_l * classifier
            )

        value = activated(t, e, s)
        assert measure("eq-conditional-aasvae-step", model.loss("variational", batch).value, value)
        h_l = -(l / z_l * (l / l.sum(0)).log()).sum()
        constants = z_u * entropy(u / z_u) + z_l * (RHO * entropy(l / z_l) + ALPHA * h_l)
        assert measure("eq-conditional-aasvae-step", value, reduced(t, e, s) + constants)
        left = three_gradients(activated, w)
        assert measure("eq-conditional-aasvae-step", left, three_gradients(reduced, w))

        def at_best(t, e, s, activated=activated, D_u=best_u, D_l=best_l) -> Tensor:
            return activated(t, e, s, D_u=D_u, D_l=D_l)

        half = 0.5 * three_gradients(lambda t, e, s, w=w: objective(w, t, e, s), w)
        assert measure("eq-conditional-aasvae-bayes", at_best(t, e, s), 0.5 * objective(w, t, e, s))
        assert measure("eq-conditional-aasvae-bayes", three_gradients(at_best, w), half)
        blind = (w.p_lab.sum(0) / (w.p_lab + fakes).sum(0)).expand(K, X)

        def at_blind(t, e, s, activated=activated, D_u=best_u, D_l=blind) -> Tensor:
            return activated(t, e, s, D_u=D_u, D_l=D_l)

        assert gap(three_gradients(at_blind, w), half) > 1e-4


# ---- a class in the code of an adversarial autoencoder -----------------------------------------


def aae(w: PairCodeWorld, labelled: Tensor | None = None) -> tuple[AAESemi, Batch]:
    n_x, n_z, n_c = len(w.p_data), len(w.p_z), len(w.p_c)
    model = AAESemi(shape=(2,), latent=1, likelihood="gaussian", strength=w.strength, classes=n_c)
    model.encoder = TablePairEncoder(w.theta0, n_z)
    model.decoder = TablePairDecoder(w.decoder.log(), n_c)
    model.discriminator = TablePartDiscriminator(w.phi_z)
    model.class_discriminator = TablePartDiscriminator(w.phi_c)
    model.prior = lambda n: Sample(torch.arange(n_z)[:, None], w.p_z)
    model.class_prior = lambda n: Sample(torch.arange(n_c)[:, None], w.p_c)
    other = None
    if labelled is not None:
        x, label = torch.cartesian_prod(torch.arange(n_x), torch.arange(n_c)).unbind(1)
        other = Batch(x, label, weight=labelled.flatten())
    return model, Batch(torch.arange(n_x), weight=w.p_data, other=other)


@pytest.mark.equation(
    "eq-conditional-aae-class", "eq-conditional-aae-encoder", "eq-conditional-aae-supervised"
)
def test_the_semi_supervised_adversarial_autoencoder(measure):
    for seed in SEEDS:
        w = PairCodeWorld.random(seed)
        n_z, n_c, n_x = len(w.p_z), len(w.p_c), len(w.p_data)
        model, batch = aae(w)

        def codes(t: Tensor, n_z=n_z) -> Tensor:
            """p(z, c|x).  (X, Z, C)"""
            return t[:, :n_z].softmax(1)[:, :, None] * t[:, n_z:].softmax(1)[:, None, :]

        of_class = (w.p_data[:, None, None] * codes(w.theta0)).sum((0, 1))
        best = w.p_c / (w.p_c + of_class)
        pool = (w.p_c + of_class) / 2
        left = 0.5 * (w.p_c @ softplus(-w.phi_c) + of_class @ softplus(w.phi_c))
        right = (pool * (coins(best, w.phi_c.sigmoid()) + coin_entropy(best))).sum()
        assert measure("eq-conditional-aae-class", left, right)
        found = model.loss("class_discriminator", batch).value
        assert measure("eq-conditional-aae-class", found, left)

        likelihood = w.decoder.T.reshape(n_x, n_z, n_c)
        judges = logsigmoid(w.phi_z)[:, None] + logsigmoid(w.phi_c)
        accepts = logsigmoid(-w.phi_z)[:, None] + logsigmoid(-w.phi_c)
        score = likelihood**w.strength * judges.exp()
        prior = w.p_z[:, None] * w.p_c

        def mixture(t: Tensor, w=w, codes=codes, prior=prior) -> Tensor:
            return (w.p_data[:, None, None] * codes(t)).sum(0) / 2 + prior / 2

        def loss(t: Tensor, w=w, codes=codes, score=score) -> Tensor:
            return -0.5 * (w.p_data[:, None, None] * codes(t) * score.log()).sum()

        frozen = mixture(w.theta0)
        target = score * frozen
        target = target / target.sum((1, 2), keepdim=True)
        target_prior = accepts.exp() * frozen
        target_prior = target_prior / target_prior.sum()

        def claim(
            t, w=w, codes=codes, target=target, last=target_prior, prior=prior, mixture=mixture
        ) -> Tensor:
            law = codes(t)
            aggregated = (w.p_data[:, None, None] * law).sum(0)
            divergence = sum(
                0.5 * w.p_data[x] * kl(law[x], target[x]) for x in range(len(w.p_data))
            ) + 0.5 * kl(prior, last)
            jsd = 0.5 * kl(aggregated, mixture(t)) + 0.5 * kl(prior, mixture(t))
            information = sum(w.p_data[x] * kl(law[x], aggregated) for x in range(len(w.p_data)))
            return divergence - jsd - 0.5 * information

        assert measure(
            "eq-conditional-aae-encoder", gradient(loss, w.theta0), gradient(claim, w.theta0)
        )
        value = model.loss("encoder", batch).value
        assert measure("eq-conditional-aae-encoder", value, loss(w.theta0))

        g = torch.Generator().manual_seed(seed)
        labelled = torch.randn(n_x * n_c, generator=g, dtype=torch.float64).softmax(0)
        labelled = labelled.reshape(n_x, n_c)
        model, batch = aae(w, labelled)
        given_x = labelled / labelled.sum(1, keepdim=True)
        q = w.theta0[:, n_z:].softmax(1)
        right = (labelled * (given_x / q).log()).sum() - (labelled * given_x.log()).sum()
        assert measure("eq-conditional-aae-supervised", -(labelled * q.log()).sum(), right)
        assert measure(
            "eq-conditional-aae-supervised", model.loss("supervised", batch).value, right
        )
