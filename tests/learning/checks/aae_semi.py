"""aae-semi: images without labels lower the error of a classifier that has seen 100 labels."""

from __future__ import annotations

from tests.learning.learning_check import LearningCheck, test_data
from unigen_edu.declarations import Batch, Loss
from unigen_edu.models.aae_semi import AAESemi


def test_error(model: AAESemi, seed: int) -> float:
    data = test_data("mnist-mini")
    assert data.labels is not None
    return (model.classify(data.images()).argmax(1) != data.labels).double().mean().item()


test_error.__test__ = False  # type: ignore[attr-defined]  # no test, in spite of its name


def the_labelled_images_alone(model: AAESemi) -> None:
    """The encoder's phase moves nothing: what is left is a supervised classifier."""
    right = model.encoder_loss

    def nothing(batch: Batch) -> Loss:
        loss = right(batch)
        return Loss(0.0 * loss.value, loss.terms)

    model.encoder_loss = nothing  # type: ignore[method-assign]


def without_a_judge_of_classes(model: AAESemi) -> None:
    judged = model.judged
    model.judged = lambda code: {  # type: ignore[method-assign]
        name: a for name, a in judged(code).items() if name != "-log D(c)"
    }


def without_reconstruction(model: AAESemi) -> None:
    model.strength = 0.0


def labels_of_other_images(model: AAESemi) -> None:
    right = model.supervised_loss

    def wrong(batch: Batch) -> Loss:
        assert batch.other is not None
        assert batch.other.label is not None
        other = Batch(batch.other.x, batch.other.label.roll(1))
        return right(Batch(batch.x, other=other))

    model.supervised_loss = wrong  # type: ignore[method-assign]


CHECK = LearningCheck(
    model="aae-semi",
    metric="share of mnist-mini test images whose class is wrong, after 100 labels",
    measure=test_error,
    threshold=0.235,
    higher_is_better=False,
    steps=300,
    lr=1e-3,
    data="mnist-mini+100",
    options={"latent": 4, "posterior": "gaussian"},
    mutants={
        "the labelled images alone": the_labelled_images_alone,
        "without a judge of classes": without_a_judge_of_classes,
        "without reconstruction": without_reconstruction,
        "labels of other images": labels_of_other_images,
    },
)
