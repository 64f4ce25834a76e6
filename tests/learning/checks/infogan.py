"""InfoGAN: the categorical code comes to mean a class of digit, though no label was shown."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.learning.learning_check import LearningCheck
from unigen_edu.classifier import load_classifier
from unigen_edu.densities import gaussian_log_prob
from unigen_edu.matching import matched_accuracy
from unigen_edu.models.infogan import Code, InfoGAN


def code_accuracy(model: InfoGAN, seed: int) -> float:
    """Agreement of code and shown digit for 2000 samples, read by a network of another training."""
    code = model.generator.codes(2000)
    return matched_accuracy(code.category, load_classifier()(model.sample(2000, code)).argmax(1))


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


def softmax_over_the_batch(model: InfoGAN) -> None:
    """log q normalised over the images in place of the categories."""

    def log_prob(code: Code, x: Tensor) -> Tensor:
        logits, mean = model.recogniser(x)
        rest = gaussian_log_prob(code.continuous, mean, model.recogniser.log_var)
        return torch.log_softmax(logits, 0).gather(1, code.category[:, None])[:, 0] + rest

    model.recogniser.log_prob = log_prob  # type: ignore[method-assign]

def untrained(model):
    cl = model.code_loss
    def f(batch):
        l = cl(batch)
        return l._replace(value=l.value*0)
    model.code_loss = f

CHECK = LearningCheck(
    model="infogan",
    metric="agreement of the categorical code with the digit that the shipped classifier reads, "
    "after the best one-to-one matching, on 2000 samples",
    measure=code_accuracy,
    threshold=0.33,
    higher_is_better=True,
    steps=300,
    batch_size=32,
    lr=1e-3,
    options={"latent": 2, "continuous": 0},
    mutants={
        "without the code term": without_the_code_term,
        "code that makes no image": code_that_makes_no_image,
        "lambda with the wrong sign": sign_of_lambda,
        "softmax over the batch": softmax_over_the_batch,
        "untrained": untrained,
    },
)
