"""InfoGAN: the code comes to mean something in the image, though no label was shown."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.learning.learning_check import LearningCheck
from unigen_edu.classifier import load_classifier
from unigen_edu.matching import matched_accuracy
from unigen_edu.models.infogan import Code, InfoGAN


def code_accuracy(model: InfoGAN, seed: int) -> float:
    """Agreement of category and shown digit, which a network of another training reads."""
    code = model.generator.codes(2000)
    return matched_accuracy(code.category, load_classifier()(model.sample(2000, code)).argmax(1))


def explained_variance(model: InfoGAN, seed: int) -> float:
    """R^2 of the continuous code in a linear regression on 64 features of the image.

    Fitted on 2000 samples and measured on 2000 others, mean over coordinates.
    """
    code = model.generator.codes(4000)
    features = load_classifier().features(model.sample(4000, code))
    inputs = torch.cat([features, torch.ones(4000, 1)], 1).double()
    target = code.continuous.double()
    # The classifier leaves some features at zero: a little ridge, so that there is one solution.
    gram = inputs[:2000].T @ inputs[:2000] + 1e-3 * torch.eye(65, dtype=torch.float64)
    weights = torch.linalg.solve(gram, inputs[:2000].T @ target[:2000])
    error = (target[2000:] - inputs[2000:] @ weights).square().mean(0)
    return (1.0 - error / target[2000:].var(0)).mean().item()


def without_the_code_term(model: InfoGAN) -> None:
    model.strength = 0.0


def code_that_makes_no_image(model: InfoGAN) -> None:
    """The recogniser is asked for a code that was drawn apart from the image."""
    inputs = model.generator.inputs

    def other_inputs(code: Code) -> Tensor:
        return inputs(model.generator.codes(len(code.category)))

    model.generator.inputs = other_inputs  # type: ignore[method-assign]


def sign_of_lambda(model: InfoGAN) -> None:
    model.strength = -model.strength


MUTANTS = {
    "without the code term": without_the_code_term,
    "code that makes no image": code_that_makes_no_image,
    "lambda with the wrong sign": sign_of_lambda,
}

CHECKS = (
    LearningCheck(
        model="infogan",
        metric="agreement of the categorical code with the digit that the classifier reads, "
        "after the best one-to-one matching, on 2000 samples",
        measure=code_accuracy,
        threshold=0.25,
        higher_is_better=True,
        steps=300,
        batch_size=32,
        lr=1e-3,
        options={"latent": 4, "continuous": 0},
        mutants=MUTANTS,
    ),
    LearningCheck(
        model="infogan",
        form="continuous",
        metric="variance of two continuous codes explained by a linear regression on features of "
        "the image (shipped classifier), on 2000 samples",
        measure=explained_variance,
        threshold=0.47,
        higher_is_better=True,
        steps=300,
        batch_size=32,
        lr=1e-3,
        options={"latent": 4, "categories": 1, "continuous": 2},
        mutants=MUTANTS,
    ),
)
