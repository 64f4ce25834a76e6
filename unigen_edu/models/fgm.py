r"""f-GM: a VAE and a GAN in one, for every f-divergence.

Graphical model: two ways to a pair (x, z). The generator draws z ~ p(z) = N(0, I), then
x ~ p_theta(x|z): the joint law Q. Data x ~ p_data are given a code by the inference network,
z ~ q_eta(z|x): the joint law P. A third network estimates the density of the data, d(x). With it
the ratio of the two joint laws can be written down instead of being learned as a whole:

    l(x, z) = log r,   r = d(x) q_eta(z|x) / (p(z) p_theta(x|z))                    (eq-f-ratio)

    density    -V = -E_P f'(r) + E_Q f*(f'(r))                                   (eq-f-joint-bound)
    joint       V                            theta and eta move; d is frozen, r is not

V <= D_f(P || Q), for every d > 0, with equality at d = p_data *whatever theta and eta are*: the
best density estimator does not depend on its opponents (eq-f-joint-gap). So

* f = KL: V = E log d(x) + 1 - int d - ELBO, and the joint step is the VAE's (eq-f-vae);
* without z, or with the true posterior as q: V is f-GAN's bound with l = log d/p_theta (eq-f-fgan);
* f = JS: an ALI whose logit is l, so that sigmoid(l) = q(y=1|x, z) (eq-f-ali).

After training there are a sampler, `sample(n)`; an inference network, `posterior(x)`; and the
density of any datum, `log_likelihood(x)` = log d(x). `missed` sets d against the generator's own
density, `log_model_density`: data which are frequent by the first and rare by the second belong to
a mode that the generator dropped.

d = base * exp(network) with a learned Gaussian base, and is not normalised by construction: at the
optimum its integral is 1, and `density.log_normaliser` estimates how far off it is.

Source: the abstract of Gimenez and Zou 2022; the objective is worked out from it, see the chapter.
Left out: likelihoods of discrete pixels, because x ~ p_theta(x|z) must carry a gradient.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from unigen_edu.declarations import Batch, Factor, Loss, Model, Phase, Variable, check_count, expect
from unigen_edu.densities import DiagonalNormal, gaussian_log_prob
from unigen_edu.divergences import FDivergence, f_divergence
from unigen_edu.errors import UnigenError
from unigen_edu.networks import Decoder, Encoder, to_features
from unigen_edu.noise import normal


class Pairs(NamedTuple):
    """Pairs (x, z) from P or from Q, n of them: what both phases of a step need."""

    x: Tensor  # (n, *shape)
    log_q_over_p: Tensor  # (draws of z, n): log q(z|x) - log p(z) - log p(x|z)
    weight: Tensor | None  # None: draws; otherwise probabilities, (draws of z, n)


class Missed(NamedTuple):
    """What `FGM.missed` found, for n data.

    Attributes:
        mask: (n,) bool, the data that the generator misses.
        log_density: (n,) log d(x), in nats. log_model: (n,) estimated log p_theta(x), in nats.
    """

    mask: Tensor
    log_density: Tensor
    log_model: Tensor


class GaussianGenerator(Decoder):
    """p(z) p_theta(x|z): a Gaussian with learned scale around the network's output."""

    def __init__(self, kind: str, shape: Sequence[int], latent: int):
        super().__init__(kind, shape, latent, "gaussian")

    def sample_pairs(self, n: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """n reparameterised draws: z (1, n, latent), x (n, *shape), equal weight.

        Pixels are *not* clamped to [0, 1]: Q is the Gaussian whose density enters the ratio.
        """
        z = normal(n, self.latent, like=self.log_var)
        mean = self(z)
        noise = normal(*mean.shape, like=mean)
        return z[None], mean + torch.exp(0.5 * self.log_var) * noise, None


class DensityEstimator(nn.Module):
    """log d(x) = log N(x; m, diag s^2) + h(x): m, s and the network h are learned."""

    def __init__(self, kind: str, shape: Sequence[int]):
        super().__init__()
        self.body = to_features(kind, shape, 1)
        self.mean = nn.Parameter(torch.full(tuple(shape), 0.5 if len(shape) == 3 else 0.0))
        self.log_var = nn.Parameter(torch.zeros(tuple(shape)))

    def forward(self, x: Tensor) -> Tensor:
        """x (B, *shape) -> log d(x) (B,), in nats."""
        return gaussian_log_prob(x, self.mean, self.log_var) + self.body(x).squeeze(-1)

    @torch.no_grad()
    def log_normaliser(self, n: int = 10_000) -> Tensor:
        """log int d(x) dx, estimated with n draws from the base: a scalar, 0 if d is a density."""
        x = self.mean + torch.exp(0.5 * self.log_var) * normal(n, *self.mean.shape, like=self.mean)
        return torch.logsumexp(self.body(x).squeeze(-1), 0) - math.log(n)


class FGM(Model):
    """f-GM with a Gaussian generator and a Gaussian inference network.

    Args:
        shape: of one sample, (C, H, W) or (dimensions,).
        network: "mlp" or "conv".
        latent: number of latent coordinates, at least 1.
        divergence: name of an f-divergence, such as "kl", "alpha=0.5", or one that was registered.
        likelihood: "gaussian", the only one that can be reparameterised.
    """

    name = "fgm"
    title = "f-divergence generative model"
    paper = "gimenez2022unified"
    chapter = "13_f_divergences"
    default_data = "ring"
    variables = (
        Variable("z", r"\mathbf{z}", "latent code", observed=False),
        Variable("x", r"\mathbf{x}", "datum", observed=True),
        Variable("y", "y", "domain: 0 generated pair, 1 inferred pair", observed=True),
    )
    factors = (
        Factor(r"p_\theta(\mathbf{x}\mid\mathbf{z},y)", "x", ("z", "y"), "generative", "decoder"),
        Factor(r"q_\eta(\mathbf{z}\mid\mathbf{x},y)", "z", ("x", "y"), "inference", "encoder"),
        Factor(r"d_\phi(\mathbf{x})", "y", ("x", "z"), "adversarial", "density"),
    )
    phases = (
        Phase(
            "density",
            moves=("density",),
            reduces=r"D_f(P\,\|\,Q)-V=\mathbb{E}_Q\big[f(u)-f(r)-f'(r)(u-r)\big],\ "
            r"u=P/Q,\ r=u\,d_\phi(\mathbf{x})/p_{data}(\mathbf{x})",
            direction="the density at the tangent point of f: best where it is that of the data",
            equation="eq-f-joint-gap",
        ),
        Phase(
            "joint",
            moves=("decoder", "encoder"),
            reduces=r"D_f\big(p_{data}(\mathbf{x})\,q_\eta(\mathbf{z}\mid\mathbf{x})\,\|\,p(\mathbf{z})"
            r"\,p_\theta(\mathbf{x}\mid\mathbf{z})\big)-\mathbb{E}_Q\big[f(u)-f(r)-f'(r)(u-r)\big]",
            direction="q_eta in the first slot, p_theta in the second; f says what that means",
            equation="eq-f-joint-bound",
        ),
    )

    def __init__(
        self,
        shape: Sequence[int] = (1, 28, 28),
        network: str = "mlp",
        latent: int = 16,
        divergence: str | FDivergence = "js",
        likelihood: str = "gaussian",
    ):
        chosen = f_divergence(divergence)
        if likelihood != "gaussian":
            raise UnigenError(
                f"There is no likelihood '{likelihood}' for f-GM: its draws of x must carry a "
                "gradient, so use likelihood='gaussian'."
            )
        check_count("latent", latent, "it counts the coordinates of a code")
        super().__init__(
            shape=tuple(shape),
            network=network,
            latent=latent,
            divergence=chosen.name,
            likelihood=likelihood,
        )
        self.divergence = chosen
        self.latent = latent
        self.encoder = Encoder(network, shape, latent)
        self.decoder = GaussianGenerator(network, shape, latent)
        self.density = DensityEstimator(network, shape)

    # ---- the two joint laws ----------------------------------------------------------------------

    def log_q_over_p(self, x: Tensor, z: Tensor, q: DiagonalNormal) -> Tensor:
        """log q(z|x) - log p(z) - log p_theta(x|z): z (k, B, latent) -> (k, B), in nats."""
        return q.log_prob(z) - q.log_prior(z) - self.decoder.log_prob(x, z)

    def inferred(self, batch: Batch) -> Pairs:
        """(x, z) ~ P = p_data(x) q_eta(z|x), one z for each datum, made once a step."""

        def make() -> Pairs:
            q = self.encoder(batch.x)
            z, weight = q.sample()
            weight = batch.weight if weight is None else weight * batch.weight
            return Pairs(batch.x, self.log_q_over_p(batch.x, z, q), weight)

        return batch.once("inferred", make)

    def generated(self, batch: Batch) -> Pairs:
        """(x, z) ~ Q = p(z) p_theta(x|z), as many as data, made once a step."""

        def make() -> Pairs:
            z, x, weight = self.decoder.sample_pairs(len(batch))
            return Pairs(x, self.log_q_over_p(x, z, self.encoder(x)), weight)

        return batch.once("generated", make)

    def variational_bound(self, of_p: Pairs, of_q: Pairs) -> tuple[Tensor, Tensor]:
        """E_P f'(r) and E_Q f*(f'(r)), whose difference is V (eq-f-joint-bound).  Scalars.

        One pass of the density estimator over the x of both laws.
        """
        log_d = self.density(torch.cat([of_p.x, of_q.x]))
        n, f = len(of_p.x), self.divergence
        data = expect(f.data_value(log_d[:n] + of_p.log_q_over_p), of_p.weight)
        model = expect(f.model_value(log_d[n:] + of_q.log_q_over_p), of_q.weight)
        return data, model

    # ---- the phases ------------------------------------------------------------------------------

    def density_loss(self, batch: Batch) -> Loss:
        """-V as a function of d: pairs of both laws are constants of this phase."""
        of_p, of_q = (
            Pairs(pairs.x.detach(), pairs.log_q_over_p.detach(), pairs.weight)
            for pairs in (self.inferred(batch), self.generated(batch))
        )
        data, model = self.variational_bound(of_p, of_q)
        value = model - data
        terms = {"loss": value, "E_P f'": data, "E_Q f*(f')": model}
        return Loss(value, {name: term.detach() for name, term in terms.items()})

    def joint_loss(self, batch: Batch) -> Loss:
        """V as a function of theta and eta, which move the draws and the ratio itself."""
        data, model = self.variational_bound(self.inferred(batch), self.generated(batch))
        if self.divergence.name == "kl":
            # E_Q r is the integral of d, whatever theta and eta are: its draws are only noise.
            model = model.detach()
        value = data - model
        return Loss(value, {"loss": value.detach()})

    # ---- what it is for --------------------------------------------------------------------------

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        """`n` draws from the generator, (n, *shape): of x for points, of its mean for images."""
        z = normal(n, self.latent, like=self.decoder.log_var)
        return self.decoder(z) if len(self.shape) == 3 else self.decoder.sample(z)

    def posterior(self, x: Tensor) -> DiagonalNormal:
        """q_eta(z|x) of each datum: mean and log-variance (B, latent)."""
        return self.encoder(x)

    @torch.no_grad()
    def log_likelihood(self, x: Tensor) -> Tensor:
        """log d(x), the estimated log-density of the data at x: (B,), in nats."""
        return self.density(x)

    def log_weights(self, x: Tensor, k: int) -> Tensor:
        """log w_i = log p_theta(x, z_i) - log q(z_i|x) for k draws from q(z|x): (k, B), in nats."""
        check_count("k", k, "it counts the draws of the importance weighted bound")
        q = self.encoder(x)
        return -self.log_q_over_p(x, q.sample(k).value, q)

    def elbo(self, x: Tensor) -> Tensor:
        """One-draw estimate of the evidence lower bound of each x: (B,), in nats."""
        q = self.encoder(x)
        z, weight = q.sample()
        return expect(-self.log_q_over_p(x, z, q), weight, dim=0)

    @torch.no_grad()
    def log_model_density(self, x: Tensor, k: int = 1000) -> Tensor:
        """log p_theta(x) of the *generator*, estimated with k codes: (B,), in nats.

        Half of the codes come from q_eta(z|x) and half from the prior, and each is weighted by
        the mixture. So a datum that the inference network places badly is not called missing for
        that, and the weight p_theta(x|z) p(z) / mixture is at most 2 p_theta(x|z).
        """
        check_count("k", k, "it counts the draws of the importance weighted estimate")
        q = self.encoder(x)
        inferred = q.sample((k + 1) // 2).value
        z = torch.cat([inferred, normal(k // 2, *inferred.shape[1:], like=inferred, batch_dim=1)])
        share = math.log(len(inferred) / k), math.log(max(k // 2, 1e-300) / k)
        log_prior = q.log_prior(z)
        log_mixture = torch.logaddexp(q.log_prob(z) + share[0], log_prior + share[1])
        log_w = self.decoder.log_prob(x, z) + log_prior - log_mixture
        return torch.logsumexp(log_w, 0) - math.log(k)

    @torch.no_grad()
    def missed(
        self, x: Tensor, *, margin: float = math.log(10.0), quantile: float = 0.1, k: int = 1000
    ) -> Missed:
        """Which data are frequent by d and rare by the generator: signs of a dropped mode.

        A datum is missed if log d(x) is not among the lowest `quantile` of the given data, and
        exceeds log p_theta(x) by more than `margin` nats. Give many data at once, (n, *shape).

        Raises:
            UnigenError: a margin below 0, or a quantile outside [0, 1).
        """
        if not margin >= 0:
            raise UnigenError(
                f"margin is {margin}, but it counts nats: give a number of at least 0."
            )
        if not 0.0 <= quantile < 1.0:
            raise UnigenError(f"quantile is {quantile}, but it must be at least 0 and below 1.")
        log_density = self.log_likelihood(x)
        log_model = self.log_model_density(x, k)
        frequent = log_density >= torch.quantile(log_density, quantile)
        return Missed(frequent & (log_density - log_model > margin), log_density, log_model)
