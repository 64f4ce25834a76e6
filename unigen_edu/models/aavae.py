r"""Adversary activated variational autoencoder.

Graphical model: that of the VAE, but the perfect discriminator q_* is replaced by a learned one,
q_phi(y|x). It is no longer told where an image comes from, so the samples of the model are not
filtered out: data and samples alike are explained by the decoder, each with the weight
q^r(y=0|x) = D(x), the probability that it *looks like* data. With p_0 = (p_g + p_data)/2 at the
current parameters theta_0, and everything with a subscript 0 frozen:

    discriminator  -L_phi = 1/2 E_{p_data} softplus(-a) + 1/2 E_{p_g} softplus(a)  (eq-aavae-phi)
    variational    E_{p_0} [ D_0(x) (-ELBO(x)) ]
                   = 1/2 E_{p_data} [D_0 (-ELBO)] + 1/2 E_{p_g,0} [D_0 (-ELBO)]    (eq-aavae-step)
                   = Z_0 KL( q^r(x|y=0) q_eta(z|x) || p_theta(x,z) ) + constant (eq-aavae-joint-kl)

where q^r(x|y=0) = D_0(x) p_0(x) / Z_0. The discriminator has an objective of its own: descending
the variational loss in phi would turn it upside down (eq-aavae-opposite). For q_*, and for the best
function of x, the gradient is half of the VAE's (eq-aavae-provenance, eq-aavae-bayes): what the
adversary adds comes from a D that is not optimal.

A Bernoulli decoder makes images of 0 and 1, so grey images are first *drawn* from their grey
values, anew in every step; otherwise a single grey pixel would give the origin away.

Three controls. weights="level" takes the judgement of single images away and leaves all else: every
image of a pool gets the mean weight of its pool. What remains of a gain then is what samples among
the data and a smaller step do, and not the adversary's choice among them. With a number, such as
weights=0.1, nobody judges: data count whole and samples by this *dose*, from the first step to the
last, and the discriminator learns for nothing. Dose 0 is half of the VAE's gradient.

Fresh samples teach nothing about images, only how encoder and posterior agree on dreams
(eq-aavae-own). samples_teach="encoder" or "decoder" lets them teach one of the two: the other is
held still while it sees them.

Paper: Hu et al. 2018. Left out: renormalising the weights of a batch, which would keep the step
size from drifting with the mean of D.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from unigen_edu import noise
from unigen_edu.declarations import (
    P_Y,
    Batch,
    Factor,
    Loss,
    Model,
    Phase,
    check_choice,
    expect,
)
from unigen_edu.errors import UnigenError
from unigen_edu.models.vae import VAE
from unigen_edu.networks import Discriminator

PerImage = Callable[[Batch], Tensor]  # a pool of images (and labels) -> one number for each: (B,)


class ActiveAdversary(Model):
    """Mixin: a model with a bound on log p(x) that trains on data *and* on its own samples.

    Put it before the model: `class AAVAE(ActiveAdversary, VAE)`, and give it two phases in this
    order, "discriminator" (moves the discriminator) and "variational" (moves the rest).

    A *pool* is a `Batch`: images `x`, labels or None, and probabilities `weight` in a finite world.

    Hooks. The first two must be defined, the others may be overridden:
        dreams(batch) -> Batch: draws from the model, as many as `len(batch)`, with labels if the
            model has them (take `batch.label`: then D cannot learn the share of a class instead).
            Pixels are *drawn* from the decoder, means are not samples. What they return is
            detached for you: theta_0 made them.
        negative_elbo(pool) -> (B,): -ELBO of each image (given its label), in nats.
        judge(pool) -> (B,): logits a of D = q_phi(y=1|x). Default `self.discriminator(pool.x)`.
        observed(batch) -> Batch: the data in the form that the decoder can make. Default: pixels
            drawn as 0 or 1 if the likelihood is Bernoulli.

    A model with a second pool, such as labelled images with a discriminator of their own, calls
    `adversary_loss(data, generated, judge)` and `activated_loss(data, generated, judge, cost)` once
    for each pool and adds the values; `frozen(dreams)` detaches a pool of samples.

    A model with the option `weights` hands it to `weigh_images` in its constructor. So does one
    with the option `samples_teach`; its generative network must be called `decoder`.
    """

    discriminator: nn.Module
    weights: str | float = "each"
    samples_teach: str = "both"

    def weigh_images(self, weights: str | float, samples_teach: str = "both") -> None:
        """Weigh each image by its own D(x) ("each"), or by the mean of its pool ("level").

        A number from 0 to 1 is the weight of every sample; that of the data is 1 then. What a
        sample teaches goes to all parts ("both"), to the decoder only, or to all but the decoder
        ("encoder").

        Raises:
            UnigenError: `weights` or `samples_teach` is none of these.
        """
        if isinstance(weights, bool) or not isinstance(weights, int | float):
            check_choice("weights", weights, ("each", "level"))
        elif not 0.0 <= weights <= 1.0:
            raise UnigenError(
                f"weights is {weights!r}, but as a number it is the weight of a sample beside that "
                "of an image of the data, which is 1: give one from 0 to 1, or 'each' or 'level'."
            )
        self.weights = weights
        if weights != "each":
            self.config["weights"] = weights
        check_choice("samples_teach", samples_teach, ("both", "encoder", "decoder"))
        self.samples_teach = samples_teach
        if samples_teach != "both":
            self.config["samples_teach"] = samples_teach

    # ---- hooks -----------------------------------------------------------------------------------

    def dreams(self, batch: Batch) -> Batch:
        """Draws from the model, as many as the batch has data."""
        raise NotImplementedError

    def negative_elbo(self, pool: Batch) -> Tensor:
        """-ELBO of each image of the pool: (B,), in nats."""
        raise NotImplementedError

    def judge(self, pool: Batch) -> Tensor:
        """Logits a(x) of D(x) = q_phi(y=1|x): (B,)."""
        return self.discriminator(pool.x)

    def observed(self, batch: Batch) -> Batch:
        """The data, with grey pixels drawn as 0 or 1 (once a step) if the likelihood needs it."""
        if self.config.get("likelihood") != "bernoulli":
            return batch
        x = batch.once("binary", lambda: noise.bernoulli(batch.x))
        return Batch(x, batch.label, batch.weight)

    # ---- the two phases --------------------------------------------------------------------------

    def generated(self, batch: Batch) -> Batch:
        """Samples of the model at theta_0, made once a step and detached."""
        return batch.once("generated", lambda: frozen(self.dreams(batch)))

    def discriminator_loss(self, batch: Batch) -> Loss:
        """-L_phi, the GAN's: how badly D tells data from samples (eq-aavae-phi), in nats."""
        return self.adversary_loss(self.observed(batch), self.generated(batch), self.judge)

    def variational_loss(self, batch: Batch) -> Loss:
        """-ELBO of data and samples, each weighted by q^r(y=0|x) = D(x) (eq-aavae-step)."""
        data, generated = self.observed(batch), self.generated(batch)
        return self.activated_loss(data, generated, self.judge, self.negative_elbo)

    # ---- their parts, for any two pools ----------------------------------------------------------

    def adversary_loss(self, data: Batch, generated: Batch, judge: PerImage) -> Loss:
        """1/2 E_data softplus(-a) + 1/2 E_generated softplus(a), averaged over each pool."""
        a_data, a_g = judge(together(data, generated)).split([len(data), len(generated)])
        minus_log_q_data = expect(F.softplus(-a_data), data.weight)
        minus_log_q_g = expect(F.softplus(a_g), generated.weight)
        with torch.no_grad():
            d_data = expect(torch.sigmoid(a_data), data.weight)
            d_g = expect(torch.sigmoid(a_g), generated.weight)
        value = P_Y * minus_log_q_data + P_Y * minus_log_q_g
        return Loss(value, {"loss": value.detach(), "D(data)": d_data, "D(generated)": d_g})

    def activated_loss(
        self, data: Batch, generated: Batch, judge: PerImage, cost: PerImage
    ) -> Loss:
        """1/2 E_data [D cost] + 1/2 E_generated [D cost], D a constant of the step."""
        pool = together(data, generated)
        sizes = [len(data), len(generated)]
        with torch.no_grad():
            q_r = torch.sigmoid(judge(pool))  # q^r(y=0|x) = q_phi(y=1|x)
            if self.weights == "level":
                of_data, of_g = q_r.split(sizes)
                mean_data, mean_g = expect(of_data, data.weight), expect(of_g, generated.weight)
                q_r = torch.cat([mean_data.expand_as(of_data), mean_g.expand_as(of_g)])
            elif not isinstance(self.weights, str):
                of_data, of_g = q_r.split(sizes)
                q_r = torch.cat([torch.ones_like(of_data), torch.full_like(of_g, self.weights)])
        weight_data, weight_g = q_r.split(sizes)
        if self.samples_teach == "both":
            with noise.pools(2):
                on_data, on_g = (q_r * cost(pool)).split(sizes)
        else:
            on_data = weight_data * cost(data)
            on_g = weight_g * self.cost_of_samples(generated, cost)
        value = P_Y * expect(on_data, data.weight) + P_Y * expect(on_g, generated.weight)
        terms = {
            "loss": value.detach(),
            "weight of data": expect(weight_data, data.weight),
            "weight of samples": expect(weight_g, generated.weight),
        }
        return Loss(value, terms)

    def cost_of_samples(self, generated: Batch, cost: PerImage) -> Tensor:
        """The cost, with a gradient in the taught parts only; through the others it passes."""
        still = {
            f"model.{name}": parameter.detach()
            for name, parameter in self.named_parameters()
            if name.startswith("decoder.") == (self.samples_teach == "encoder")
        }
        found: Tensor = functional_call(_Cost(self, cost), still, (generated,))
        return found


class _Cost(nn.Module):
    """A cost as a forward pass, which is what `functional_call` can call."""

    def __init__(self, model: nn.Module, cost: PerImage):
        super().__init__()
        self.model = model
        self.cost = cost

    def forward(self, pool: Batch) -> Tensor:
        return self.cost(pool)


def together(data: Batch, generated: Batch) -> Batch:
    """Both pools in one, data first, so that one pass through a network serves both."""
    label = None
    if data.label is not None and generated.label is not None:
        label = torch.cat([data.label, generated.label])
    return Batch(torch.cat([data.x, generated.x]), label)


def frozen(pool: Batch) -> Batch:
    """The pool without its history: theta_0 made it, and theta_0 does not move."""
    weight = None if pool.weight is None else pool.weight.detach()
    return Batch(pool.x.detach(), pool.label, weight)


class AAVAE(ActiveAdversary, VAE):
    """VAE + a learned adversary whose opinion weighs data and samples.

    Args:
        shape, network, latent, likelihood: as for `VAE`.
        weights: "each" weighs an image by D(x); "level", a control, by the mean of its pool; a
            number from 0 to 1, another, weighs every sample by it and the data by 1.
        samples_teach: "both" encoder and decoder learn from samples, or only one of them.
    """

    name = "aavae"
    title = "Adversary activated VAE"
    paper = "hu2018unifying"
    chapter = "16_aavae"
    factors = (
        *VAE.factors[:2],
        Factor(r"q_\phi(y\mid\mathbf{x})", "y", ("x",), "adversarial", "discriminator"),
    )
    phases = (
        Phase(
            "discriminator",
            moves=("discriminator",),
            reduces=r"\mathbb{E}_{p_{\theta_0}(\mathbf{x})}\,"
            r"\mathrm{KL}\big(p_{\theta_0}(y\mid\mathbf{x})\,\|\,q_\phi(y\mid\mathbf{x})\big)",
            direction="q_phi in the second slot, on data and dreams alike: a sleep step",
            equation="eq-aavae-phi",
        ),
        Phase(
            "variational",
            moves=("encoder", "decoder"),
            reduces=r"Z_0\,\mathrm{KL}\big(q^r_{\phi_0}(\mathbf{x}\mid y{=}0)\,"
            r"q_\eta(\mathbf{z}\mid\mathbf{x})\,\|\,p_\theta(\mathbf{x},\mathbf{z})\big)",
            direction="p_theta in the second slot, q_eta in the first: covers what D believes",
            equation="eq-aavae-joint-kl",
        ),
    )

    def __init__(
        self,
        shape: Sequence[int] = (1, 28, 28),
        network: str = "mlp",
        latent: int = 32,
        likelihood: str = "bernoulli",
        weights: str | float = "each",
        samples_teach: str = "both",
    ):
        super().__init__(shape=shape, network=network, latent=latent, likelihood=likelihood)
        self.weigh_images(weights, samples_teach)
        self.discriminator = Discriminator(network, shape)

    @torch.no_grad()
    def dreams(self, batch: Batch) -> Batch:
        """Draws from p_g: a code from the prior, then pixels from the decoder."""
        z = noise.normal(len(batch), self.latent, like=batch.x)
        return Batch(self.decoder.sample(z))

    def negative_elbo(self, pool: Batch) -> Tensor:
        """-ELBO of each image, with one draw of its code: (B,), in nats."""
        return -self.elbo(pool.x)
