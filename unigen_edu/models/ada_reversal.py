r"""Domain adaptation by gradient reversal (DANN): the same game, played as minimax.

Graphical model, discriminator and classifier: those of `ADA`. The encoder does not flip the labels
of the domains; it *ascends* the discriminator's own loss. In the original this is a layer that
passes features forward and the gradient backward with its sign reversed, so that one backward pass
moves all three networks. Here each network has its phase, and the reversal is a minus sign:

    encoder   lambda E log q_phi(y|f) + 1/2 E_source[-log q_omega(c|f)]      (eq-domains-reversal)

The gradient of its first term at theta_0 is that of JSD - E_y KL(p_theta(f|y) || q(f|y)), with q in
place of q^r: Lemma 1 with every sign reversed. At the optimal discriminator the KL's gradient is
zero and the JSD is what remains, so the encoder then descends the JSD itself. Far from there the
term saturates: where D is certain, log q_phi hardly changes with f.

Paper: Ganin et al. 2016. Left out: as for `ADA`.
"""

from __future__ import annotations

from torch import Tensor

from unigen_edu.declarations import Phase, Sample
from unigen_edu.models.ada import ADA


class ReversalADA(ADA):
    """ADA with the minimax loss.

    Args:
        shape, network, classes, features, strength: as for `ADA`.
    """

    name = "ada-reversal"
    title = "Domain adaptation by gradient reversal"
    paper = "ganin2016domain"
    phases = (
        *ADA.phases[:2],
        Phase(
            "encoder",
            moves=("encoder",),
            reduces=r"\lambda\big[\mathrm{JSD}_\theta-\mathbb{E}_{p(y)}\,\mathrm{KL}\big("
            r"p_\theta(\mathbf{f}\mid y)\,\|\,q(\mathbf{f}\mid y)\big)\big]"
            r"-\tfrac12 \mathbb{E}_{p_\theta(\mathbf{f},c\mid y=1)}\log q_\omega(c\mid\mathbf{f})",
            direction="p_theta in the first slot, but the KL is raised and the JSD lowered",
            equation="eq-domains-reversal",
        ),
    )

    def adversarial(self, source: Sample, target: Sample) -> Tensor:
        """What the encoder descends: E log q_phi(y|f), the discriminator's own score."""
        return self.domain_log_score(source, target, flipped=False)
