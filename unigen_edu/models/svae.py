r"""Semi-supervised variational autoencoder: "M2" of Kingma et al.

Graphical model: the conditional VAE's, whose class c is seen for a few images only. It has a prior
p(c) = 1/classes, and a classifier q_psi(c|x) infers it where it is missing; z is inferred by
q_eta(z|x, c). For an image with its label,

    L(x, c) = -E_q log p_theta(x|z, c) + KL(q_eta(z|x, c) || p(z)) - log p(c)  (eq-conditional-pair)

and -L(x, c) <= log p_theta(x, c). For an image without, the class is one more latent variable. It
takes few values, so the expectation over it is a sum, done exactly and for all classes at once:

    U(x) = E_{q_psi(c|x)} L(x, c) - H(q_psi(c|x)) = -ELBO(x)             (eq-conditional-unlabelled)
    log p_theta(x) + U(x) = KL(q_psi(c|x) || p(c|x)) + E_q KL(q_eta(z|x,c) || p_theta(z|x,c))
                                                                           (eq-conditional-slack)
    variational   E_{p_data(x)} U + rho E_{p_lab(x,c)} L + alpha E_{p_lab(x,c)} [ -log q_psi(c|x) ]
                                                                               (eq-conditional-m2)

L contains no psi: without the last term the labelled images teach the classifier nothing directly.
rho = n/N counts each of the n labelled and N other images once; with rho = 1 the decoder soon knows
a hundred labelled images by heart. Sums over pixels and
latent coordinates, means over each of the two batches.

Paper: Kingma et al. 2014; their sum over images, divided by N, has rho = n/N and alpha = 0.1. A
short training needs a larger alpha, which holds the classifier to the labels until the decoder can
tell classes apart. Left out: "M1", features learned beforehand.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from unigen_edu.data import Dataset
from unigen_edu.declarations import Batch, Factor, Loss, Phase, Variable, check_count, expect
from unigen_edu.densities import categorical_log_prob
from unigen_edu.errors import UnigenError
from unigen_edu.models.cvae import CVAE
from unigen_edu.models.vae import VAE, check_amount
from unigen_edu.networks import Classifier


class SVAE(CVAE):
    """Conditional VAE + a classifier that fills in missing labels.

    Args:
        shape, network, latent, likelihood: as for `CVAE`.
        classes: number of classes, at least 1; 1 is the VAE.
        alpha: weight of the classifier's cross-entropy on labelled images, from 0 to 1e6.
        rho: weight of the bound of a labelled image, from 0 to 1000; n/N for n labels among N.
    """

    name = "svae"
    title = "Semi-supervised VAE (M2)"
    paper = "kingma2014semi"
    chapter = "17_conditional"
    needs: ClassVar[frozenset[str]] = frozenset({"other label"})
    default_data = "mnist-mini+100"
    variables = (
        *VAE.variables,
        Variable("c", "c", "class, seen for a few images", observed=False),
    )
    factors: ClassVar[tuple[Factor, ...]] = (
        *CVAE.factors[:2],
        Factor(r"q_\psi(c\mid\mathbf{x})", "c", ("x",), "inference", "classifier"),
        CVAE.factors[2],
    )
    phases: ClassVar[tuple[Phase, ...]] = (
        Phase(
            "variational",
            moves=("encoder", "decoder", "classifier"),
            reduces=r"\mathrm{KL}\big(p_{data}(\mathbf{x})\,q(\mathbf{z},c\mid\mathbf{x})\,\|\,"
            r"p_\theta\big)+\rho\,\mathrm{KL}\big(p_{lab}(\mathbf{x},c)\,q_\eta(\mathbf{z}\mid"
            r"\mathbf{x},c)\,\|\,p_\theta\big)+\alpha\,\mathrm{KL}\big(p_{lab}(c\mid\mathbf{x})\,"
            r"\|\,q_\psi(c\mid\mathbf{x})\big),\ p_\theta=p_\theta(\mathbf{x},\mathbf{z},c)",
            direction="p_theta in the second slot; q_psi in the first, and on labels in the second",
            equation="eq-conditional-m2",
        ),
    )

    def __init__(
        self,
        shape: Sequence[int] = (1, 28, 28),
        network: str = "mlp",
        latent: int = 32,
        likelihood: str = "bernoulli",
        classes: int = 10,
        alpha: float = 500.0,
        rho: float = 0.01,
    ):
        check_amount("alpha", alpha, "it weighs the classifier's loss on labelled images", 1e6)
        check_amount("rho", rho, "it weighs the bound of a labelled image", 1000.0)
        super().__init__(
            shape=shape, network=network, latent=latent, likelihood=likelihood, classes=classes
        )
        self.config |= {"alpha": alpha, "rho": rho}
        self.alpha = alpha
        self.rho = rho
        self.classifier = Classifier(network, shape, classes)

    # ---- bounds ----------------------------------------------------------------------------------

    def every_class(self) -> Tensor:
        """All labels, ready to stand beside codes (classes, B, latent): (classes, 1) int64."""
        return torch.arange(self.classes, device=self.device)[:, None]

    def pair_bound(self, x: Tensor, label: Tensor) -> Tensor:
        """-L(x, c) <= log p(x, c), with one draw of z: label (B,) -> (B,), in nats."""
        return super().elbo(x, label) - math.log(self.classes)

    def pair_bounds(self, x: Tensor) -> Tensor:
        """-L(x, c) for every c, with a draw of z for each: x (B, *shape) -> (classes, B)."""
        q = self.encoder.for_each_class(x)
        z = q.sample()
        log_likelihood = self.decoder.log_prob(x, z.value, self.every_class())
        elbo = expect(log_likelihood, z.weight, dim=0) - q.kl_q_p()
        return elbo - math.log(self.classes)

    def elbo(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """-U(x) <= log p(x); given labels, a bound of log p(x|c) as in `CVAE`: (B,), in nats."""
        if label is not None:
            return super().elbo(x, label)
        log_q = self.classifier(x).log_softmax(-1).T  # (classes, B)
        return (log_q.exp() * (self.pair_bounds(x) - log_q)).sum(0)

    def cross_entropy(self, x: Tensor, label: Tensor) -> Tensor:
        """-log q(c|x) of the label: (B,), in nats."""
        return -categorical_log_prob(label, self.classifier(x))

    def labelled(self, batch: Batch) -> Batch:
        """The labelled images of a step."""
        if batch.other is None or batch.other.label is None:
            raise UnigenError(
                f"The model '{self.name}' needs labelled images in batch.other: train with data "
                f"such as '{self.default_data}'."
            )
        return batch.other

    def variational_loss(self, batch: Batch) -> Loss:
        """U of the images, L and cross-entropy of the labelled ones (eq-conditional-m2)."""
        pairs = self.labelled(batch)
        assert pairs.label is not None
        unlabelled = -expect(self.elbo(batch.x), batch.weight)
        labelled = -expect(self.pair_bound(pairs.x, pairs.label), pairs.weight)
        cross_entropy = expect(self.cross_entropy(pairs.x, pairs.label), pairs.weight)
        value = unlabelled + self.rho * labelled + self.alpha * cross_entropy
        terms = {"loss": value, "U": unlabelled, "L": labelled, "-log q(c|x)": cross_entropy}
        return Loss(value, {name: term.detach() for name, term in terms.items()})

    def log_weights(self, x: Tensor, k: int, label: Tensor | None = None) -> Tensor:
        """log sum_c p(x, z_ic, c) / q(z_ic|x, c), z_ic ~ q(z|x, c): (k, B), in nats.

        The class is summed out, so exp has the mean p(x) whatever the classifier says, and for
        k = 1 the bound is above `elbo`. Given labels, as in `CVAE`.
        """
        if label is not None:
            return super().log_weights(x, k, label)
        check_count("k", k, "it counts the draws of the importance weighted bound")
        q = self.encoder.for_each_class(x)
        z = q.sample(k).value  # (k, classes, B, latent)
        log_w = self.decoder.log_prob(x, z, self.every_class()) + q.log_prior(z) - q.log_prob(z)
        return log_w.logsumexp(1) - math.log(self.classes)

    # ---- classification --------------------------------------------------------------------------

    @torch.no_grad()
    def classify(self, x: Tensor) -> Tensor:
        """log q(c|x): (B, *shape) -> (B, classes)."""
        return self.classifier(x).log_softmax(-1)

    @torch.no_grad()
    def own_metrics(self, test_set: Dataset) -> dict[str, float]:
        """test_error: share of test images whose most probable class is wrong; none: no labels."""
        if test_set.labels is None:
            return {}
        starts = range(0, len(test_set), 1000)
        guess = [self.classify(test_set.images(slice(at, at + 1000))) for at in starts]
        wrong = torch.cat(guess).argmax(1) != test_set.labels
        return {"test_error": wrong.double().mean().item()}
