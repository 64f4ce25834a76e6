"""f-GAN's losses by hand, against the GAN's, with a divergence of one's own, and bad input."""

from __future__ import annotations

from math import exp, log

import pytest
import torch
from torch import nn
from torch.distributions import Normal

from unigen_edu import models
from unigen_edu.checkpoints import load_model
from unigen_edu.declarations import Batch, Sample
from unigen_edu.divergences import F_DIVERGENCES, f_divergence, register
from unigen_edu.errors import UnigenError
from unigen_edu.models.fgan import FGAN
from unigen_edu.models.gan import GAN
from unigen_edu.training import fit

# The log ratio is x itself: r = 1, 3 on the data and 1/3, 1 on the draws.
X_DATA = torch.tensor([[0.0], [log(3.0)]], dtype=torch.float64)
X_GENERATED = torch.tensor([[-log(3.0)], [0.0]], dtype=torch.float64)

# (E_data f'(r), E_generated f*(f'(r)), E_generated f'(r)), from f by hand.
BY_HAND = {
    "kl": (1 + log(3) / 2, 2 / 3, 1 - log(3) / 2),
    "reverse-kl": (-2 / 3, -1 - log(3) / 2, -2.0),
    "js": (log(3 / 2) / 2, log(2 / 3) / 2, -log(2) / 2),
    "hellinger": ((1 - 3**-0.5) / 2, (3**-0.5 - 1) / 2, (1 - 3**0.5) / 2),
    "pearson": (2.0, -4 / 9, -2 / 3),
    "jeffreys": ((log(3) + 2 / 3) / 2, (-log(3) - 2 / 3) / 2, (-log(3) - 2) / 2),
    "alpha=2": (1.0, -2 / 9, -1 / 3),
}


@pytest.fixture
def by_hand(draws, line):
    def build(divergence: str, objective: str = "minimax", x_g=X_GENERATED, **slope: float):
        model = FGAN(shape=(1,), divergence=divergence, objective=objective)
        model.generator = draws(x_g.clone())
        model.discriminator = line(**slope)
        return model

    return build


@pytest.fixture
def own():
    before = dict(F_DIVERGENCES)
    yield register
    F_DIVERGENCES.clear()
    F_DIVERGENCES.update(before)


@pytest.mark.parametrize("name", BY_HAND)
def test_the_losses_by_hand(name, by_hand):
    data, generated, trick = BY_HAND[name]
    loss = by_hand(name).loss("discriminator", Batch(X_DATA))
    assert {term: value.item() for term, value in loss.terms.items()} == pytest.approx(
        {
            "loss": generated - data,
            "log ratio(data)": log(3) / 2,
            "log ratio(generated)": -log(3) / 2,
        },
        abs=1e-12,
    )
    assert loss.value.item() == pytest.approx(generated - data, abs=1e-12)
    for objective, value in (("minimax", -generated), ("non-saturating", -trick)):
        found = by_hand(name, objective).loss("generator", Batch(X_DATA)).value.item()
        assert found == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("name", ["kl", "reverse-kl", "hellinger", "pearson", "neyman"])
def test_the_discriminators_gradient_has_the_hand_written_form(name, by_hand):
    """dV/dl = r f''(r) on a datum and -r^2 f''(r) on a draw (9.1 of the theory)."""
    torch.manual_seed(0)
    x, x_g = torch.randn(2, 6, 1, dtype=torch.float64)
    model = by_hand(name, x_g=x_g, slope=0.7, offset=-0.2)
    second = {
        "kl": lambda r: 1 / r,
        "reverse-kl": lambda r: r**-2,
        "hellinger": lambda r: r**-1.5 / 2,
        "pearson": lambda r: 2 * torch.ones_like(r),
        "neyman": lambda r: 2 * r**-3,
    }[name]
    r, r_g = (torch.exp(0.7 * points - 0.2) for points in (x, x_g))
    on_data, on_draws = -r * second(r), r_g.square() * second(r_g)
    wanted = [(on_data * x + on_draws * x_g).mean(), (on_data + on_draws).mean()]
    loss = model.loss("discriminator", Batch(x)).value
    found = torch.autograd.grad(loss, list(model.discriminator.parameters()))
    assert torch.allclose(torch.stack(found), torch.stack(wanted), atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", ["kl", "reverse-kl", "js", "hellinger", "alpha=0.3"])
def test_every_f_finds_the_ratio_of_the_densities(name):
    """N(1, 1) against N(-1, 1), on a grid with their probabilities: the log ratio is 2 x."""
    x = torch.linspace(-7, 7, 201, dtype=torch.float64)[:, None]
    p, q = (Normal(torch.tensor(m).double(), 1).log_prob(x[:, 0]).softmax(0) for m in (1.0, -1.0))

    class Fixed(nn.Module):
        def sample(self, n: int) -> Sample:
            return Sample(x, q)

    model = FGAN(shape=(1,), divergence=name)
    model.generator = Fixed()
    line = nn.Linear(1, 1).double()
    nn.init.zeros_(line.weight)
    model.discriminator = nn.Sequential(line, nn.Flatten(0))
    optimiser = torch.optim.LBFGS(line.parameters(), max_iter=60, line_search_fn="strong_wolfe")

    def closure() -> float:
        optimiser.zero_grad()
        loss = model.loss("discriminator", Batch(x, weight=p)).value
        loss.backward()
        return loss.item()

    optimiser.step(closure)
    assert line.weight.item() == pytest.approx(2.0, abs=1e-3)
    assert line.bias.item() == pytest.approx(0.0, abs=1e-3)
    reached = -model.loss("discriminator", Batch(x, weight=p)).value.item()
    assert reached == pytest.approx(model.divergence.divergence(p, q).item(), abs=1e-5)


def test_a_certain_discriminator_is_guarded(by_hand):
    far = torch.tensor([[-1e4], [1e4]], dtype=torch.float64)
    for name in [*F_DIVERGENCES, "alpha=3"]:
        for objective in ("minimax", "non-saturating"):
            model = by_hand(name, objective, far)
            for phase, parameter in (
                ("discriminator", model.discriminator.offset),
                ("generator", model.generator.values),
            ):
                loss = model.loss(phase, Batch(far))
                assert loss.value.isfinite()
                assert torch.autograd.grad(loss.value, parameter)[0].isfinite().all()


def test_it_is_a_gan_in_all_but_the_scores(small):
    model = small("fgan", divergence="kl")
    assert isinstance(model, GAN)
    assert [phase.moves for phase in model.phases] == [phase.moves for phase in GAN.phases]
    assert model.is_game()
    assert model.sample(5).shape == (5, 1, 4, 4)


def test_the_discriminators_step_has_no_path_to_the_generator(digits, small):
    model = small("fgan")
    loss = model.loss("discriminator", Batch(digits.images())).value
    found = torch.autograd.grad(loss, list(model.generator.parameters()), allow_unused=True)
    assert found == (None,) * len(found)


@pytest.mark.parametrize("name", ["kl", "alpha=0.5", "js=0.3"])
def test_its_divergence_survives_a_checkpoint(name, digits, small, tmp_path):
    model = small("fgan", divergence=name)
    assert model.config["divergence"] == name
    fit(model, digits, steps=2, batch_size=7, out=tmp_path, device="cpu", progress=False)
    again, _ = load_model(tmp_path)
    assert again.divergence.name == name
    assert torch.equal(again.discriminator(digits.images()), model.discriminator(digits.images()))


def test_a_divergence_of_ones_own_trains_as_the_built_in_one(own, digits, small, tmp_path):
    own("my-kl", lambda u: u * u.log())
    parameters = []
    for name in ("kl", "my-kl"):
        model = small("fgan", divergence=name).double()  # Adam makes much of a last digit
        fit(model, digits, steps=5, batch_size=7, device="cpu", progress=False)
        parameters.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.allclose(*parameters, atol=1e-8, rtol=0)
    fit(model, digits, steps=2, batch_size=7, out=tmp_path, device="cpu", progress=False)
    assert load_model(tmp_path)[0].divergence is F_DIVERGENCES["my-kl"]
    del F_DIVERGENCES["my-kl"]
    with pytest.raises(UnigenError, match="must be registered first"):
        load_model(tmp_path)


def test_a_divergence_may_be_given_as_an_object(own):
    mine = own("mine", lambda u: (u - 1) ** 2)
    model = models.create("fgan", shape=(2,), divergence=mine)
    assert model.config["divergence"] == "mine"
    own("mine", lambda u: 2 * (u - 1) ** 2)
    with pytest.raises(UnigenError, match="Another f-divergence is registered"):
        models.create("fgan", shape=(2,), divergence=mine)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"divergence": "tv"}, "no f-divergence 'tv'; choose one of: kl"),
        ({"divergence": "alpha"}, "give its number"),
        ({"divergence": 3}, "no f-divergence '3'"),
        ({"objective": "wasserstein"}, "no objective 'wasserstein'"),
        ({"latent": 0}, "latent is 0"),
    ],
)
def test_bad_options_are_one_sentence(options, words):
    with pytest.raises(UnigenError, match=words):
        models.create("fgan", shape=(2,), **options)


def test_the_guard_of_the_largest_ratio_is_that_of_the_divergence(by_hand):
    far = torch.full((2, 1), 50.0, dtype=torch.float64)
    loss = by_hand("kl", x_g=far).loss("generator", Batch(far)).value.item()
    assert -exp(30) < loss < -exp(24)
    assert f_divergence("kl").limit == 30
