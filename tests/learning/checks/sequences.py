"""The models of sequences, on names of numbers: bounds, and numbers that can be read off samples.

Everything is measured on a copy with the trained parameters and the unbroken code: a mutant that
is told the answer must not be told it in the examination.
"""

from __future__ import annotations

from torch import Tensor

from tests.learning.learning_check import LearningCheck, test_data
from unigen_edu import corpora, models
from unigen_edu.declarations import Batch, Loss, Model
from unigen_edu.models.sequence_gan import SequenceGAN
from unigen_edu.models.sequence_helmholtz import Dream, SequenceHelmholtz
from unigen_edu.models.sequence_vae import SequenceVAE
from unigen_edu.recurrent import Writer

DATA = "number-names"


def unbroken(model: Model) -> Model:
    copy = models.create(model.name, **model.config)
    copy.load_state_dict(model.state_dict())
    return copy.eval()


def held_out() -> Tensor:
    return test_data(DATA).x


def bound(model: Model, seed: int) -> float:
    copy = unbroken(model)
    assert isinstance(copy, (SequenceVAE, SequenceHelmholtz))
    return float(-copy.elbo(held_out()).mean())


def rebuilt_words(model: Model, seed: int) -> float:
    copy, x = unbroken(model), held_out()
    assert isinstance(copy, SequenceVAE)
    words = x > 0
    return float(((copy.reconstruct(x) == x) & words).sum() / words.sum())


def numbers_named(model: Model, seed: int) -> float:
    found = corpora.read(unbroken(model).sample(1000))
    return float(len(found[found >= 0].unique()))


# --- mistakes -------------------------------------------------------------------------------------


def told_the_answer(writer: Writer) -> None:
    """Off by one: each token is given itself instead of the one before."""
    logits = writer.logits
    writer.logits = lambda before, c: logits(before.roll(-1, 1), c)  # type: ignore[method-assign]


def vae_told_the_answer(model: Model) -> None:
    assert isinstance(model, SequenceVAE)
    told_the_answer(model.decoder)


def kl_left_out(model: Model) -> None:
    assert isinstance(model, SequenceVAE)
    model.beta = 0.0


def code_of_another_name(model: Model) -> None:
    """The decoder gets the code of the neighbour in the batch."""
    assert isinstance(model, SequenceVAE)
    log_prob = model.decoder.log_prob

    def mixed(x: Tensor, c: Tensor) -> Tensor:
        return log_prob(x, c.roll(1, -2))

    model.decoder.log_prob = mixed  # type: ignore[method-assign]


def mean_over_tokens(model: Model) -> None:
    """The reconstruction is averaged over the tokens, and the KL is not."""
    assert isinstance(model, SequenceVAE)
    log_prob = model.decoder.log_prob
    model.decoder.log_prob = lambda x, c: log_prob(x, c) / x.shape[1]  # type: ignore[method-assign]


def names_backwards(model: Model) -> None:
    """The decoder learns to write the reversed name."""
    assert isinstance(model, SequenceVAE)
    log_prob = model.decoder.log_prob
    model.decoder.log_prob = lambda x, c: log_prob(x.flip(1), c)  # type: ignore[method-assign]


def generator_aims_at_0(model: Model) -> None:
    """Reversed labels: the generator's cost is -log(1-D)."""
    assert isinstance(model, SequenceGAN)
    generator_loss = model.generator_loss

    def reversed_loss(batch: Batch) -> Loss:
        logits = model.logits
        model.logits = lambda x, batch: -logits(x, batch)  # type: ignore[method-assign]
        try:
            return generator_loss(batch)
        finally:
            del model.logits

    model.generator_loss = reversed_loss  # type: ignore[method-assign]


def score_of_another_draw(model: Model) -> None:
    """Each draw is praised for the cost of its neighbour."""
    assert isinstance(model, SequenceGAN)
    log_prob = model.generator.log_prob
    model.generator.log_prob = lambda x: log_prob(x.roll(1, 0))  # type: ignore[method-assign]


def score_of_the_answer(model: Model) -> None:
    assert isinstance(model, SequenceGAN)
    told_the_answer(model.generator.writer)


def sleeps_on_data(model: Model) -> None:
    """The recognition network learns its own answers about data, not dreams."""
    assert isinstance(model, SequenceHelmholtz)

    def sleep_loss(batch: Batch) -> Loss:
        q = model.recognition(batch.x)
        value = -q.log_prob(q.sample().value).mean()
        return Loss(value, {"loss": value.detach()})

    model.sleep_loss = sleep_loss  # type: ignore[method-assign]


def forgets_which_cause(model: Model) -> None:
    """Sleep pairs each dream with the causes of another one."""
    assert isinstance(model, SequenceHelmholtz)
    sample = model.generative.sample

    def mixed(n: int) -> Dream:
        h, x, weight = sample(n)
        return Dream(h.roll(1, 0), x, weight)

    model.generative.sample = mixed  # type: ignore[method-assign]


def wakes_on_dreams(model: Model) -> None:
    """The generative network learns its own dreams, not data."""
    assert isinstance(model, SequenceHelmholtz)

    def wake_loss(batch: Batch) -> Loss:
        h, x, _ = model.generative.sample(len(batch))
        value = -model.generative.log_prob(x, h).mean()
        return Loss(value, {"loss": value.detach()})

    model.wake_loss = wake_loss  # type: ignore[method-assign]


def wake_told_the_answer(model: Model) -> None:
    assert isinstance(model, SequenceHelmholtz)
    told_the_answer(model.generative.writer)


CHECKS = (
    LearningCheck(
        model="sequence-vae",
        metric="minus the ELBO of a held-out name in nats, one draw; log 10000 = 9.21 is perfect, "
        "independent words pay 21.5",
        measure=bound,
        threshold=9.8,
        higher_is_better=False,
        steps=400,
        data=DATA,
        lr=3e-3,
        mutants={
            "told the answer": vae_told_the_answer,
            "KL left out": kl_left_out,
            "names backwards": names_backwards,
        },
    ),
    LearningCheck(
        model="sequence-vae",
        form="beta",
        metric="fraction of the words of held-out names rebuilt from the mean code",
        measure=rebuilt_words,
        threshold=0.665,
        higher_is_better=True,
        steps=500,
        data=DATA,
        options={"beta": 0.05},
        lr=6e-3,
        mutants={
            "code of another name": code_of_another_name,
            "mean over tokens": mean_over_tokens,
            "told the answer": vae_told_the_answer,
        },
    ),
    LearningCheck(
        model="sequence-gan",
        metric="different numbers, of 10000, that 1000 samples name; 1000 perfect ones name 952",
        measure=numbers_named,
        threshold=150.0,
        higher_is_better=True,
        steps=500,
        data=DATA,
        lr=4e-3,
        betas=(0.0, 0.9),
        mutants={
            "reversed labels": generator_aims_at_0,
            "score of another draw": score_of_another_draw,
            "score of the answer": score_of_the_answer,
        },
    ),
    LearningCheck(
        model="sequence-helmholtz",
        metric="minus the ELBO of a held-out name in nats, one draw; log 10000 = 9.21 is perfect, "
        "independent words pay 21.5",
        measure=bound,
        threshold=9.8,
        higher_is_better=False,
        steps=300,
        data=DATA,
        lr=3e-3,
        mutants={
            "wake on dreams": wakes_on_dreams,
            "told the answer": wake_told_the_answer,
        },
    ),
    LearningCheck(
        model="sequence-helmholtz",
        form="no-chain",
        metric="minus the ELBO of a held-out name in nats, one draw, words independent given the "
        "causes; 11.5 if the causes mean nothing",
        measure=bound,
        threshold=11.0,
        higher_is_better=False,
        steps=500,
        data=DATA,
        options={"chain": False, "latent": 8},
        lr=6e-3,
        mutants={
            "sleep on data": sleeps_on_data,
            "dreams without their causes": forgets_which_cause,
            "wake on dreams": wakes_on_dreams,
        },
    ),
)
