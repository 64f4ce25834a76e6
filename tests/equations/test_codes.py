"""Chapter 8: every labelled equation, on tables of images, codes and domains.

The other side of each comparison is written out here: laws as tables [c, x], losses from their
definitions, gradients by autograd of these. The models' own losses run on the same tables.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from unigen_edu.declarations import Batch, Model, Sample
from unigen_edu.exact.checks import gap, gradient
from unigen_edu.exact.code_networks import (
    PairCodeWorld,
    TableCodedGenerator,
    TablePairDecoder,
    TablePairEncoder,
    TablePartDiscriminator,
    TableRecogniser,
)
from unigen_edu.exact.codes import AdversarialAutoencoderWorld, CodeWorld
from unigen_edu.exact.networks import TableDecoder, TableDiscriminator, TableEncoder
from unigen_edu.models.aae import AAE
from unigen_edu.models.aae_semi import AAESemi
from unigen_edu.models.infogan import InfoGAN

SEEDS = range(8)
FAR = 1e-4


def world(seed: int, strength: float) -> CodeWorld:
    """A random world whose code has one law and one reader in both domains."""
    w = CodeWorld.random(seed, strength=strength)
    return replace(
        w,
        p_z_given_y=w.p_z_given_y[:1].expand(2, -1),
        recogniser=w.recogniser[:1].expand(2, -1, -1),
    )


WORLDS = [world(seed, strength) for seed in SEEDS for strength in (0.7, 1.0)]
AUTOENCODERS = [AdversarialAutoencoderWorld.random(seed) for seed in SEEDS]
PAIRS = [PairCodeWorld.random(seed) for seed in SEEDS]


def kl(p: Tensor, q: Tensor) -> Tensor:
    """sum p log(p/q) over all states."""
    return (p * (p.log() - q.log())).sum()


def jsd(p: Tensor, q: Tensor) -> Tensor:
    m = (p + q) / 2
    return (kl(p, m) + kl(q, m)) / 2


def information(joint: Tensor) -> Tensor:
    return kl(joint, joint.sum(1, keepdim=True) * joint.sum(0))


def left_open(joint: Tensor) -> Tensor:
    """H(row|column) of a table."""
    return -(joint * (joint / joint.sum(0)).log()).sum()


class Coded:
    """A generator with a code, its terms from their definitions.

    p: (C,) law of what is drawn.  theta0: (C, X).  data: (X,) law under y = 1.  D: (X,).
    reader: (C, X), sums to one over c.
    """

    def __init__(self, p, theta0, data, D, reader, strength):
        self.p, self.theta0, self.data, self.D = p, theta0, data, D
        self.reader, self.strength = reader, strength
        self.joint0 = self.joint(theta0)
        self.mix0 = (self.joint0.sum(0) + data) / 2
        made, real = self.scores() * self.mix0
        self.Z = torch.stack([made.sum(1), real.sum(1)])
        self.target = torch.stack([made, real]) / self.Z[:, :, None]

    def joint(self, theta: Tensor) -> Tensor:
        return self.p[:, None] * theta.softmax(1)

    def scores(self) -> Tensor:
        """q(c|x)^lambda q^r(y|x): (2, C, X)"""
        read = self.reader**self.strength
        return torch.stack([read * self.D, read * (1 - self.D)])

    def loss(self, theta: Tensor) -> Tensor:
        """The generator's loss, y = 0."""
        return -(self.joint(theta) * (self.D.log() + self.strength * self.reader.log())).sum() / 2

    def objective(self, theta: Tensor) -> Tensor:
        """-L_theta over both domains."""
        beside = self.p[:, None] * self.data
        return self.loss(theta) - (beside * self.scores()[1].log()).sum() / 2

    def kl_term(self, theta: Tensor, target: Tensor | None = None) -> Tensor:
        target = self.target if target is None else target
        beside = self.data.expand_as(self.reader)
        total = torch.zeros((), dtype=torch.float64)
        for law, aims in ((theta.softmax(1), target[0]), (beside, target[1])):
            for c in range(len(self.p)):
                total = total + 0.5 * self.p[c] * kl(law[c], aims[c])
        return total

    def jsd(self, theta: Tensor) -> Tensor:
        return jsd(self.joint(theta).sum(0), self.data)

    def information(self, theta: Tensor) -> Tensor:
        return information(self.joint(theta))

    def mixture_kl(self, theta: Tensor) -> Tensor:
        return kl((self.joint(theta).sum(0) + self.data) / 2, self.mix0)

    def mean_log_z(self) -> Tensor:
        return 0.5 * (self.p * self.Z.log()).sum()

    def two_terms(self, theta: Tensor) -> Tensor:
        return self.kl_term(theta) - self.jsd(theta)

    def three_terms(self, theta: Tensor) -> Tensor:
        return self.two_terms(theta) - self.information(theta) / 2

    def reading(self, theta: Tensor) -> Tensor:
        return -(self.joint(theta) * self.reader.log()).sum()

    def gan(self, theta: Tensor) -> Tensor:
        """KL - JSD of Lemma 1 for the images alone."""
        total = -self.jsd(theta)
        for law, score in ((self.joint(theta).sum(0), self.D), (self.data, 1 - self.D)):
            aims = score * self.mix0 / (score * self.mix0).sum()
            total = total + 0.5 * kl(law, aims)
        return total


def coded(w: CodeWorld) -> Coded:
    D = torch.sigmoid(w.phi0)
    return Coded(w.p_z_given_y[0], w.theta0, w.p_data, D, w.recogniser[0], w.strength)


def exchanged(w: AdversarialAutoencoderWorld, strength: float = 1.0) -> Coded:
    """The autoencoder as a generator of codes, whose "code" is the image."""
    D = torch.sigmoid(w.phi0)
    return Coded(w.p_data, w.theta0, w.p_z, D, w.decoder.T, strength)


CODED = [coded(w) for w in WORLDS]


def elsewhere(c: Coded, seed: int = 0) -> Tensor:
    noise = torch.randn(
        c.theta0.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    return c.theta0 + 0.7 * noise


def infogan(w: CodeWorld) -> tuple[InfoGAN, Batch]:
    model = InfoGAN(shape=(2,), latent=1, categories=3, continuous=0, strength=w.strength)
    model.generator = TableCodedGenerator(w.theta0, w.p_z_given_y[0])
    model.discriminator = TableDiscriminator(w.phi0)
    model.recogniser = TableRecogniser(w.recogniser[0].T.log())
    return model, Batch(torch.arange(len(w.p_data)), weight=w.p_data)


def aae(w: AdversarialAutoencoderWorld, strength: float = 1.0) -> tuple[AAE, Batch]:
    model = AAE(shape=(2,), latent=1, likelihood="gaussian", strength=strength)
    model.encoder = TableEncoder(w.theta0, w.p_z)
    model.decoder = TableDecoder(w.decoder.log())
    model.discriminator = TableDiscriminator(w.phi0)
    model.prior = lambda n: Sample(torch.arange(len(w.p_z)), w.p_z)
    return model, Batch(torch.arange(len(w.p_data)), weight=w.p_data)


def step(on_tables: tuple[Model, Batch], phase: str, of: str) -> tuple[Tensor, Tensor]:
    """Value and gradient of a phase of the package's model."""
    model, batch = on_tables
    value = model.loss(phase, batch).value
    (parameter,) = model.get_submodule(of).parameters()
    return value, torch.autograd.grad(value, parameter)[0]


# ---- the bound ---------------------------------------------------------------------------------


@pytest.mark.equation("eq-codes-information", "eq-codes-bound")
def test_information_its_forms_and_its_bound(measure):
    for c in CODED:
        theta = elsewhere(c)
        joint = c.joint(theta)
        p_g = joint.sum(0)
        per_code = sum(c.p[i] * kl(theta.softmax(1)[i], p_g) for i in range(len(c.p)))
        entropy = -(c.p * c.p.log()).sum()
        assert measure("eq-codes-information", per_code, entropy - left_open(joint))
        assert measure("eq-codes-information", per_code, information(joint))
        posterior = joint / p_g
        slack = sum(p_g[x] * kl(posterior[:, x], c.reader[:, x]) for x in range(len(p_g)))
        bound = entropy - c.reading(theta)
        assert measure("eq-codes-bound", information(joint), bound + slack)
        assert measure("eq-codes-bound", bound, information(joint), relation="<=")
        assert slack > FAR


@pytest.mark.equation("eq-codes-sleep")
def test_the_readers_phase_is_a_sleep_step(measure):
    for w in WORLDS:
        c = coded(w)
        posterior = c.joint0 / c.joint0.sum(0)

        def claim(logits: Tensor, c=c, posterior=posterior) -> Tensor:
            q = logits.softmax(1).T
            p_g = c.joint0.sum(0)
            return left_open(c.joint0) + sum(
                p_g[x] * kl(posterior[:, x], q[:, x]) for x in range(len(p_g))
            )

        at = c.reader.T.log()
        value, found = step(infogan(w), "code", "recogniser")
        assert measure("eq-codes-sleep", value, claim(at))
        assert measure("eq-codes-sleep", found, gradient(claim, at))


# ---- the lemma ---------------------------------------------------------------------------------


@pytest.mark.equation("eq-codes-half", "eq-codes-chain", "eq-codes-step2")
def test_the_information_with_a_pair(measure):
    for c in CODED:
        theta = elsewhere(c)
        beside = c.p[:, None] * c.data
        laws = torch.stack([c.joint(theta), beside]) / 2  # p(y) p(c) p(x|c,y)
        p_x = laws.sum((0, 1))
        weights = laws.sum(2, keepdim=True)
        pair = kl(laws, weights * p_x)
        conditional = 0.5 * information(c.joint(theta)) + 0.5 * information(beside)
        assert measure("eq-codes-half", conditional, information(c.joint(theta)) / 2)
        assert measure("eq-codes-chain", pair, c.jsd(theta) + conditional)
        assert measure("eq-codes-chain", pair, c.jsd(theta), FAR, relation="!=")
        to_prior = kl(laws, weights * c.mix0)
        assert measure("eq-codes-step2", to_prior, pair + kl(p_x, c.mix0))


@pytest.mark.equation("eq-codes-step1")
def test_the_kl_of_one_pair(measure):
    for c in CODED:
        theta = elsewhere(c)
        for y in (0, 1):
            for i in range(len(c.p)):
                law = theta.softmax(1)[i] if y == 0 else c.data
                opened = -(law * c.scores()[y, i].log()).sum() + kl(law, c.mix0)
                assert measure("eq-codes-step1", kl(law, c.target[y, i]), opened + c.Z[y, i].log())


@pytest.mark.equation("eq-codes-star")
def test_the_global_identity(measure):
    for c in CODED:
        for theta in (c.theta0, elsewhere(c), elsewhere(c, 1)):
            right = c.three_terms(theta) - c.mixture_kl(theta) - c.mean_log_z()
            assert measure("eq-codes-star", c.objective(theta), right)


@pytest.mark.equation("eq-codes-infogan", "eq-codes-missing", "eq-codes-net")
def test_the_gradient_of_the_generators_phase(measure):
    for w in WORLDS:
        c = coded(w)
        value, found = step(infogan(w), "generator", "generator")
        assert measure("eq-codes-infogan", value, c.loss(c.theta0))
        assert measure("eq-codes-infogan", found, gradient(c.three_terms, c.theta0))
        assert measure(
            "eq-codes-infogan", found, gradient(c.two_terms, c.theta0), FAR, relation="!="
        )
        rest = gradient(c.information, c.theta0)
        assert measure("eq-codes-missing", found - gradient(c.two_terms, c.theta0), -rest / 2)
        bonus = c.strength / 2 * gradient(c.reading, c.theta0)
        assert measure("eq-codes-net", found, gradient(c.gan, c.theta0) + bonus)
        c.reader = c.joint0 / c.joint0.sum(0)
        assert measure("eq-codes-net", gradient(c.reading, c.theta0), -rest)
        away = elsewhere(c)
        assert gap(gradient(c.reading, away), -gradient(c.information, away)) > FAR


@pytest.mark.equation("eq-codes-missing")
def test_nothing_is_missing_where_the_image_tells_the_code(measure):
    for seed in SEEDS:
        block = CodeWorld.blocks(seed)
        found = gradient(block.infogan_loss, block.theta0) / 2
        two = gradient(lambda t, b=block: b.kl_term(t) - b.jsd_y(t), block.theta0)
        assert measure("eq-codes-missing", found, two)
        assert found.abs().max() > FAR


@pytest.mark.equation("eq-codes-compensation")
def test_a_kl_per_code_charges_for_information(measure):
    for c in CODED:
        r = torch.softmax(torch.arange(c.theta0.shape[1]).double() / 3, 0)
        theta = elsewhere(c)
        left = sum(c.p[i] * kl(theta.softmax(1)[i], r) for i in range(len(c.p)))
        right = kl(c.joint(theta).sum(0), r) + information(c.joint(theta))
        assert measure("eq-codes-compensation", left, right)


@pytest.mark.equation("eq-codes-form-b", "eq-codes-form-c")
def test_the_other_two_forms(measure):
    for c in CODED:
        found = gradient(c.loss, c.theta0)
        posterior = torch.stack([c.joint0 / c.joint0.sum(0), c.p[:, None].expand_as(c.joint0)])
        aims = c.scores() * posterior * c.mix0
        aims = aims / aims.sum(2, keepdim=True)

        def form_b(theta: Tensor, c=c, aims=aims) -> Tensor:
            return c.kl_term(theta, aims) - c.jsd(theta)

        assert measure("eq-codes-form-b", found, gradient(form_b, c.theta0))
        joint_aims = c.scores() * c.mix0
        joint_aims = joint_aims / joint_aims.sum((1, 2), keepdim=True)

        def form_c(theta: Tensor, c=c, aims=joint_aims) -> Tensor:
            both = kl(c.joint(theta), aims[0]) + kl(c.p[:, None] * c.data, aims[1])
            return both / 2 - c.jsd(theta) - c.information(theta) / 2

        assert measure("eq-codes-form-c", found, gradient(form_c, c.theta0))


# ---- the adversarial autoencoder ---------------------------------------------------------------


@pytest.mark.equation("eq-codes-aae-phi")
def test_the_judge_of_codes(measure):
    log2 = torch.tensor(2.0, dtype=torch.float64).log()
    for w in AUTOENCODERS:
        codes = (w.p_data[:, None] * w.theta0.softmax(1)).sum(0)
        both = (codes + w.p_z) / 2
        true = torch.stack([codes, w.p_z]) / (2 * both)  # p(y|z)

        def claim(phi: Tensor, codes=codes, both=both, true=true, w=w) -> Tensor:
            log_q = torch.stack([logsigmoid(-phi), logsigmoid(phi)])
            return log2 - jsd(codes, w.p_z) + (both * true * (true.log() - log_q)).sum()

        value, found = step(aae(w), "discriminator", "discriminator")
        assert measure("eq-codes-aae-phi", value, claim(w.phi0))
        assert measure("eq-codes-aae-phi", found, gradient(claim, w.phi0))
        written = -(w.p_z * logsigmoid(w.phi0)).sum() / 2 - (codes * logsigmoid(-w.phi0)).sum() / 2
        assert measure("eq-codes-aae-phi", written, claim(w.phi0))


@pytest.mark.equation("eq-codes-aae", "eq-codes-aae-optimal")
def test_the_encoders_phase(measure):
    for w in AUTOENCODERS:
        for strength in (1.0, 0.3):
            c = exchanged(w, strength)
            value, found = step(aae(w, strength), "encoder", "encoder")
            assert measure("eq-codes-aae", value, c.loss(c.theta0))
            assert measure("eq-codes-aae", found, gradient(c.three_terms, c.theta0))
            assert measure(
                "eq-codes-aae", found, gradient(c.two_terms, c.theta0), FAR, relation="!="
            )
            best = replace(w, phi0=(w.p_z / c.joint0.sum(0)).log())
            _, at_best = step(aae(best, strength), "encoder", "encoder")

            def claim(theta: Tensor, c=c) -> Tensor:
                mixed = (c.joint(theta).sum(0) + c.data) / 2
                return kl(mixed, c.data) + c.strength / 2 * c.reading(theta)

            assert measure("eq-codes-aae-optimal", at_best, gradient(claim, c.theta0))
            assert measure(
                "eq-codes-aae-optimal", found, gradient(claim, c.theta0), FAR, relation="!="
            )


@pytest.mark.equation("eq-codes-aae-decoder")
def test_the_decoders_phase(measure):
    for w in AUTOENCODERS:
        joint = w.p_data[:, None] * w.theta0.softmax(1)  # (X, Z)
        true = joint / joint.sum(0)

        def claim(logits: Tensor, joint=joint, true=true) -> Tensor:
            q = logits.softmax(1).T
            codes = joint.sum(0)
            return left_open(joint) + sum(
                codes[z] * kl(true[:, z], q[:, z]) for z in range(len(codes))
            )

        value, found = step(aae(w), "decoder", "decoder")
        assert measure("eq-codes-aae-decoder", value, claim(w.decoder.log()))
        assert measure("eq-codes-aae-decoder", found, gradient(claim, w.decoder.log()))


@pytest.mark.equation("eq-codes-surgery", "eq-codes-promises")
def test_what_a_vae_pays_and_what_two_promises_buy(measure):
    for w in AUTOENCODERS:
        encoder = w.theta0.softmax(1)
        joint = w.p_data[:, None] * encoder
        codes = joint.sum(0)
        paid = sum(w.p_data[x] * kl(encoder[x], w.p_z) for x in range(len(w.p_data)))
        assert measure("eq-codes-surgery", paid, kl(codes, w.p_z) + information(joint))
        true = joint / codes
        reading = sum(codes[z] * kl(true[:, z], w.decoder[z]) for z in range(len(codes)))
        promised = kl(codes, w.p_z) + reading
        assert measure("eq-codes-promises", promised, kl(joint, w.p_z * w.decoder.T))
        assert measure(
            "eq-codes-promises", kl(w.p_data, w.p_z @ w.decoder), promised, relation="<="
        )
        # Both kept: the model is the data.
        assert measure("eq-codes-promises", codes @ true.T, w.p_data)


# ---- two judges --------------------------------------------------------------------------------


def semi(w: PairCodeWorld) -> tuple[AAESemi, Batch]:
    n_z, n_c = len(w.p_z), len(w.p_c)
    model = AAESemi(shape=(2,), latent=1, likelihood="gaussian", strength=w.strength, classes=n_c)
    model.encoder = TablePairEncoder(w.theta0, n_z)
    model.decoder = TablePairDecoder(w.decoder.log(), n_c)
    model.discriminator = TablePartDiscriminator(w.phi_z)
    model.class_discriminator = TablePartDiscriminator(w.phi_c)
    return model, Batch(torch.arange(len(w.p_data)), weight=w.p_data)


@pytest.mark.equation("eq-codes-semi")
def test_the_encoders_phase_with_two_judges(measure):
    for w in PAIRS:
        n_z, n_c = len(w.p_z), len(w.p_c)
        prior = torch.outer(w.p_z, w.p_c).flatten()
        made = torch.outer(w.phi_z.sigmoid(), w.phi_c.sigmoid()).flatten() * w.decoder.T**w.strength
        real = torch.outer((-w.phi_z).sigmoid(), (-w.phi_c).sigmoid()).flatten()

        def law(theta: Tensor, n_z=n_z, n_c=n_c) -> Tensor:
            z, c = theta.split([n_z, n_c], 1)
            return torch.einsum("xz,xc->xzc", z.softmax(1), c.softmax(1)).flatten(1)

        mix0 = (w.p_data @ law(w.theta0) + prior) / 2
        aims = made * mix0 / (made * mix0).sum(1, keepdim=True)
        real_aim = real * mix0 / (real * mix0).sum()

        def claim(theta: Tensor, share=0.5, w=w, law=law, aims=aims, real_aim=real_aim) -> Tensor:
            codes = law(theta)
            n = range(len(w.p_data))
            prior = torch.outer(w.p_z, w.p_c).flatten()
            total = 0.5 * sum(w.p_data[x] * kl(codes[x], aims[x]) for x in n)
            total = total + 0.5 * kl(prior, real_aim) - jsd(w.p_data @ codes, prior)
            return total - share * information(w.p_data[:, None] * codes)

        _, found = step(semi(w), "encoder", "encoder")
        assert measure("eq-codes-semi", found, gradient(claim, w.theta0))
        without = gradient(lambda t, claim=claim: claim(t, 0.0), w.theta0)
        assert measure("eq-codes-semi", found, without, FAR, relation="!=")


@pytest.mark.equation("eq-codes-parts")
def test_the_parts_of_a_code_tell_no_more_than_the_whole(measure):
    for w in PAIRS:
        codes = w.aggregated().reshape(len(w.p_z), len(w.p_c))
        prior = torch.outer(w.p_z, w.p_c)
        whole = jsd(codes, prior)
        for axis in (0, 1):
            part = jsd(codes.sum(axis), prior.sum(axis))
            assert measure("eq-codes-parts", part, whole, relation="<=")
            assert whole - part > 1e-6
