"""VAE/GAN: reconstructions that show the right digit, and samples that look like digits.

A surprise among the mutants: with the *labels* of the discriminator reversed the model still
learns. The decoder then finds that it is already believed, its part of the game saturates, and the
similarity alone trains it, in features that a reversed discriminator learns just as well. What
breaks the game is its sign.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from tests.learning.learning_check import LearningCheck, test_data
from unigen_edu import metrics
from unigen_edu.classifier import load_classifier
from unigen_edu.declarations import Batch, Loss, Model, Sample, constant
from unigen_edu.models.vaegan import P_SOURCE, VAEGAN, expect_path


def same_digit(model: Model, seed: int) -> float:
    """Share of test images that the classifier reads alike before and after reconstruction."""
    assert isinstance(model, VAEGAN)
    x = test_data("mnist-mini").images(slice(0, 1000))
    read = load_classifier()
    return (read(x).argmax(1) == read(model.reconstruct(x)).argmax(1)).double().mean().item()


def distance_of_samples(model: Model, seed: int) -> float:
    return metrics.frechet_distance(model.sample(1000), test_data("mnist-mini").images())


def detaches_the_code(model: Model) -> None:
    """No path from the similarity to the encoder, which hears the KL alone."""
    assert isinstance(model, VAEGAN)
    encoded = model.encoded

    def constant_codes(batch: Batch) -> Sample:
        return constant(encoded(batch))

    model.encoded = constant_codes  # type: ignore[method-assign]


def compares_with_other_images(model: Model) -> None:
    """Each reconstruction is compared with the image of its neighbour in the batch."""
    assert isinstance(model, VAEGAN)
    similarity = model.similarity

    def shifted(batch: Batch, f_made: Tensor) -> Tensor:
        return similarity(batch, f_made.roll(1, -2))

    model.similarity = shifted  # type: ignore[method-assign]


def averages_over_features(model: Model) -> None:
    """The mean over features in place of the sum: the KL counts 256 times too much."""
    assert isinstance(model, VAEGAN)
    similarity = model.similarity

    def averaged(batch: Batch, f_made: Tensor) -> Tensor:
        return similarity(batch, f_made) / f_made.shape[-1]

    model.similarity = averaged  # type: ignore[method-assign]


def leaks_the_similarity(model: Model) -> None:
    """The discriminator descends the similarity as well, and makes all features equal."""
    assert isinstance(model, VAEGAN)
    right = model.discriminator_loss

    def discriminator_loss(batch: Batch) -> Loss:
        value, terms = right(batch)
        f_x = model.discriminator.features(batch.x)
        f_r = model.discriminator.features(constant(model.reconstructed(batch)).value)
        minus_log_p = 0.5 * (f_x - f_r).square().sum(-1).mean()
        return Loss(value + P_SOURCE * model.gamma * minus_log_p, terms)

    model.discriminator_loss = discriminator_loss  # type: ignore[method-assign]


def plays_with_the_wrong_sign(model: Model) -> None:
    """The decoder ascends its part of the game."""
    assert isinstance(model, VAEGAN)

    def decoder_loss(batch: Batch) -> Loss:
        z = constant(model.encoded(batch))
        x_r, x_g = model.reconstructed(batch), model.generated(batch)
        f_r = model.discriminator.features(x_r.value)
        similarity = expect_path(model.similarity(batch, f_r), x_r, z, batch)
        game = F.softplus(-model.discriminator.judge(f_r)).mean()
        game = game + F.softplus(-model.discriminator(x_g.value)).mean()
        value = P_SOURCE * (-game - model.gamma * similarity)
        return Loss(value, {"loss": value.detach()})

    model.decoder_loss = decoder_loss  # type: ignore[method-assign]


CHECKS = (
    LearningCheck(
        model="vaegan",
        form="reconstruction",
        metric="share of 1000 test images of mnist-mini whose reconstruction is read as the same "
        "digit by the shipped classifier",
        measure=same_digit,
        threshold=0.2,
        higher_is_better=True,
        steps=300,
        batch_size=32,
        options={"latent": 16, "gamma": 1.0},
        mutants={
            "code detached": detaches_the_code,
            "compared with another image": compares_with_other_images,
            "mean over features": averages_over_features,
            "similarity moves the discriminator": leaks_the_similarity,
        },
    ),
    LearningCheck(
        model="vaegan",
        form="samples",
        metric="Frechet distance of 1000 samples to the mnist-mini test set, features of the "
        "shipped classifier",
        measure=distance_of_samples,
        threshold=940.0,
        higher_is_better=False,
        steps=300,
        batch_size=32,
        options={"latent": 16},
        mutants={
            "game with the wrong sign": plays_with_the_wrong_sign,
            "similarity moves the discriminator": leaks_the_similarity,
        },
    ),
)
