r"""f-GAN: a GAN for every f-divergence.

Graphical model: that of the GAN. What changes is how the discriminator and the generator are
scored. Its output is read as l(x), an estimate of log p_data(x)/p_g(x), and r = e^l:

    discriminator  -V = -E_{p_data} f'(r) + E_{p_g} f*(f'(r))                    (eq-f-variational)
    generator       V up to a term without theta: -E_{p_g} f*(f'(r))                (eq-f-generator)

V <= D_f(p_data || p_g), with equality at l = log p_data/p_g. The order is that of f-GAN: data
first, model second, so "kl" covers modes and "reverse-kl" seeks them.

Why l, and not the free output v with an activation g_f: l means the same for every f, so that
sigmoid(l) is the D(x) of a GAN whatever was trained; and f'(e^l) lies in the domain of f* by
itself. For KL, reverse KL, JS, Hellinger and Neyman the v of f-GAN is l up to a factor and a
constant, so nothing else changes; for Pearson it is 2(e^l - 1), and l keeps the ratio positive.

The generator's step, exact for every discriminator. At theta_0, let p^(x) = e^{l(x)} p_g(x) be what
the discriminator takes for the data, frozen. Then (eq-f-target)

    objective="minimax"          descends D_f(p^ || p_g),
    objective="non-saturating"   descends D_h(p^ || p_g) with h''(u) = f''(u) / u.

The second minimises -E_{p_g} f'(r). It makes another divergence of f: of Pearson's it makes 2 KL,
of KL the reverse KL, and of JS 2 KL(m || p_data), which is the GAN of Lemma 1 (eq-f-nonsaturating).

Paper: Nowozin, Cseke and Tomioka 2016; p^ and h are worked out in the chapter, h for JS also in
Shannon et al. 2020. Left out: the one-step saddle point of the paper; each phase has its own Adam.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from unigen_edu.declarations import Batch, Loss, Phase, expect
from unigen_edu.divergences import FDivergence, f_divergence
from unigen_edu.models.gan import GAN


class FGAN(GAN):
    """f-GAN.

    Args:
        shape, network, latent: as for `GAN`.
        divergence: name of an f-divergence, such as "kl", "alpha=0.5", or one that was registered.
        objective: "minimax" descends V; "non-saturating" descends -E f'(r).
    """

    name = "fgan"
    title = "f-GAN"
    paper = "nowozin2016fgan"
    chapter = "13_f_divergences"
    phases = (
        Phase(
            "discriminator",
            moves=("discriminator",),
            reduces=r"D_f(p_{data}\,\|\,p_{\theta_0})-V=\mathbb{E}_{p_{\theta_0}}\big[f(u)-f(r)"
            r"-f'(r)(u-r)\big],\ u=p_{data}/p_{\theta_0},\ r=e^{l_\phi(\mathbf{x})}",
            direction="the log ratio at the tangent point of f: data against model is estimated",
            equation="eq-f-gap",
        ),
        Phase(
            "generator",
            moves=("generator",),
            reduces=r"D_f\big(\hat p\,\|\,p_\theta\big),\ \hat p=e^{l_{\phi_0}}p_{\theta_0}",
            direction="p_theta in the second slot, at theta_0; f says what that means",
            equation="eq-f-target",
        ),
    )

    def __init__(
        self,
        shape: Sequence[int] = (1, 28, 28),
        network: str = "mlp",
        latent: int = 64,
        divergence: str | FDivergence = "js",
        objective: str = "minimax",
    ):
        chosen = f_divergence(divergence)
        super().__init__(shape=shape, network=network, latent=latent, objective=objective)
        self.config["divergence"] = chosen.name
        self.divergence = chosen

    def discriminator_loss(self, batch: Batch) -> Loss:
        """-V: how much of D_f(p_data || p_g) the discriminator does not see (eq-f-variational)."""
        x_g, weight_g = self.generated(batch)
        # One pass over both halves. x_g is detached: this phase must not move the generator.
        log_r = self.logits(torch.cat([batch.x, x_g.detach()]), batch)
        log_r_data, log_r_g = log_r[: len(batch)], log_r[len(batch) :]
        value = -self.divergence.variational_bound(log_r_data, log_r_g, batch.weight, weight_g)
        terms = {
            "loss": value,
            "log ratio(data)": expect(log_r_data, batch.weight),
            "log ratio(generated)": expect(log_r_g, weight_g),
        }
        return Loss(value, {name: term.detach() for name, term in terms.items()})

    def generator_loss(self, batch: Batch) -> Loss:
        """V without the term of the data (eq-f-generator), or the non-saturating loss."""
        x_g, weight_g = self.generated(batch)
        log_r = self.logits(x_g, batch)
        f = self.divergence
        score = f.data_value if self.objective == "non-saturating" else f.model_value
        value = -expect(score(log_r), weight_g)
        return Loss(value, {"loss": value.detach()})
