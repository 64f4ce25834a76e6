"""The adversary activated M2, on points: what unlabelled points and samples add to a few labels."""

from __future__ import annotations

from tests.learning.checks.svae import error_on_moons
from tests.learning.learning_check import LearningCheck
from unigen_edu.declarations import Batch, Loss, Model
from unigen_edu.models.aasvae import AASVAE


def leaves_unlabelled_out(model: Model) -> None:
    """Only the pool of pairs trains the model."""
    assert isinstance(model, AASVAE)

    def variational_loss(batch: Batch) -> Loss:
        pairs = model.labelled(batch)
        generated = model.generated(pairs)
        return model.activated_loss(pairs, generated, model.judge, model.negative_elbo)

    model.variational_loss = variational_loss  # type: ignore[method-assign]


def leaves_the_classification_term_out(model: Model) -> None:
    """alpha = 0: labels reach the classifier only by way of the decoder."""
    assert isinstance(model, AASVAE)
    model.alpha = 0.0


CHECK = LearningCheck(
    model="aasvae",
    metric="share of test points of two moons with a wrong class, 10 labels",
    measure=error_on_moons,
    threshold=0.185,
    higher_is_better=False,
    steps=500,
    data="moons+10",
    options={"latent": 2, "likelihood": "gaussian", "alpha": 1.0, "rho": 0.1},
    lr=3e-3,
    mutants={
        "unlabelled points left out": leaves_unlabelled_out,
        "classification term missing": leaves_the_classification_term_out,
    },
)
