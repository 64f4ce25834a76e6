"""The AAVAE's parts by hand, its samples by counting, and what the adversary may not touch."""

from __future__ import annotations

from math import log, nan

import pytest
import torch
from torch import Tensor, nn

from unigen_edu import models
from unigen_edu.declarations import Batch, Loss, Phase
from unigen_edu.models.aavae import AAVAE, ActiveAdversary, frozen
from unigen_edu.models.vae import VAE
from unigen_edu.seeds import fit_seeds


class KnownCost(ActiveAdversary):
    """One number as data, one as sample; what an image costs is its value times a parameter."""

    name = "known-cost"
    phases = (
        Phase("discriminator", ("discriminator",), "", "", ""),
        Phase("variational", ("price",), "", "", ""),
    )

    def __init__(self, logit: float = 0.0, likelihood: str = "gaussian"):
        super().__init__(shape=(1,), likelihood=likelihood)
        self.discriminator = nn.Linear(1, 1, bias=False).double()
        nn.init.constant_(self.discriminator.weight, logit)
        self.price = nn.Parameter(torch.tensor(3.0, dtype=torch.float64))

    def judge(self, pool: Batch) -> Tensor:
        return self.discriminator(pool.x).squeeze(-1)

    def dreams(self, batch: Batch) -> Batch:
        return Batch(2.0 * torch.ones_like(batch.x) * self.price / 3.0, batch.label)

    def negative_elbo(self, pool: Batch) -> Tensor:
        return self.price * pool.x.squeeze(-1)


def sigmoid(a: float) -> float:
    return 1 / (1 + 2.718281828459045 ** (-a))


def test_both_losses_by_hand():
    # a(x) = 0.7 x; data x = 1, sample x = 2; cost 3 x.
    model, batch = KnownCost(0.7), Batch(torch.ones(4, 1, dtype=torch.float64))
    d_data, d_g = sigmoid(0.7), sigmoid(1.4)
    loss = model.loss("discriminator", batch)
    assert loss.value.item() == pytest.approx(-0.5 * log(d_data) - 0.5 * log(1 - d_g), rel=1e-9)
    assert loss.terms["D(data)"].item() == pytest.approx(d_data, rel=1e-9)
    assert loss.terms["D(generated)"].item() == pytest.approx(d_g, rel=1e-9)
    loss = model.loss("variational", batch)
    assert loss.value.item() == pytest.approx(0.5 * d_data * 3 + 0.5 * d_g * 6, rel=1e-9)
    assert loss.terms["weight of data"].item() == pytest.approx(d_data, rel=1e-9)
    assert loss.terms["weight of samples"].item() == pytest.approx(d_g, rel=1e-9)
    # The price moves the cost, and neither D nor the samples: 1/2 (D 1 + D 2).
    (slope,) = torch.autograd.grad(loss.value, model.price)
    assert slope.item() == pytest.approx(0.5 * d_data + d_g, rel=1e-9)


def test_level_weights_by_hand():
    # a(x) = 0.7 x; data 1 and 3 weigh the same, the mean of their two D, and so does the sample 2.
    model = KnownCost(0.7)
    model.weigh_images("level")
    loss = model.loss("variational", Batch(torch.tensor([[1.0], [3.0]], dtype=torch.float64)))
    d_data, d_g = (sigmoid(0.7) + sigmoid(2.1)) / 2, sigmoid(1.4)
    wanted = 0.5 * d_data * (3 + 9) / 2 + 0.5 * d_g * 6
    assert loss.value.item() == pytest.approx(wanted, rel=1e-9)
    assert loss.terms["weight of data"].item() == pytest.approx(d_data, rel=1e-9)
    each = KnownCost(0.7).loss("variational", Batch(torch.tensor([[1.0], [3.0]]).double()))
    assert each.value.item() == pytest.approx(
        0.25 * (sigmoid(0.7) * 3 + sigmoid(2.1) * 9) + 0.5 * d_g * 6, rel=1e-9
    )


def test_level_weights_of_a_finite_world_are_means_of_its_probabilities():
    model = KnownCost(0.7)
    model.weigh_images("level")
    data = Batch(torch.tensor([[1.0], [3.0]]).double(), weight=torch.tensor([0.75, 0.25]).double())
    generated = Batch(torch.tensor([[2.0]]).double())
    loss = model.activated_loss(data, generated, model.judge, model.negative_elbo)
    mean = 0.75 * sigmoid(0.7) + 0.25 * sigmoid(2.1)
    wanted = 0.5 * mean * (0.75 * 3 + 0.25 * 9) + 0.5 * sigmoid(1.4) * 6
    assert loss.value.item() == pytest.approx(wanted, rel=1e-9)


def test_a_constant_weight_by_hand():
    # Data count whole and samples by the dose, whatever D says.
    model = KnownCost(0.7)
    model.weigh_images(0.25)
    loss = model.loss("variational", Batch(torch.tensor([[1.0], [3.0]], dtype=torch.float64)))
    assert loss.value.item() == pytest.approx(0.5 * (3 + 9) / 2 + 0.5 * 0.25 * 6, rel=1e-12)
    assert loss.terms["weight of data"].item() == 1.0
    assert loss.terms["weight of samples"].item() == 0.25


def test_without_a_dose_half_of_the_gradient_of_the_vae_is_left(small, digits):
    model = small("aavae", weights=0.0).double()
    batch = Batch(digits.binarised(0).images().double())
    parameters = [*model.encoder.parameters(), *model.decoder.parameters()]

    def slopes(value: torch.Tensor) -> list[torch.Tensor]:
        return list(torch.autograd.grad(value, parameters))

    # Both draw the codes of the data first, from the same numbers.
    torch.manual_seed(1)
    activated = slopes(model.activated_loss(
        batch, Batch(batch.x.flip(0)), model.judge, model.negative_elbo
    ).value)  # fmt: skip
    torch.manual_seed(1)
    for found, wanted in zip(activated, slopes(-model.elbo(batch.x).mean()), strict=True):
        torch.testing.assert_close(found, 0.5 * wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["aavae", "aacvae"])
@pytest.mark.parametrize("pupil", ["encoder", "decoder"])
def test_samples_teach_one_part_what_they_would_teach_it_beside_the_other(
    name, pupil, small, digits
):
    x = digits.binarised(0).images().double()
    label = torch.arange(len(x)) % 10
    batch, generated = Batch(x, label), Batch(x.flip(0), label.flip(0))

    def slopes(**options: object) -> dict[str, list[Tensor]]:
        torch.manual_seed(5)
        model = small(name, **options).double()
        parts = {part: list(getattr(model, part).parameters()) for part in ("encoder", "decoder")}
        # One stream of draws, whether the pools pass through the networks together or in turn.
        torch.manual_seed(6)
        loss = model.activated_loss(batch, generated, model.judge, model.negative_elbo)
        found = iter(torch.autograd.grad(loss.value, [p for of in parts.values() for p in of]))
        return {part: [next(found) for _ in of] for part, of in parts.items()}

    whole, without = slopes(weights=0.5), slopes(weights=0.0)
    taught = slopes(weights=0.5, samples_teach=pupil)
    (still,) = {"encoder", "decoder"} - {pupil}
    for wanted, part in ((whole, pupil), (without, still)):
        for found, gradient in zip(taught[part], wanted[part], strict=True):
            torch.testing.assert_close(found, gradient, rtol=1e-9, atol=1e-12)
    for part in (pupil, still):  # and there is something to be taught
        assert any(
            (a - b).abs().max() > 1e-4 for a, b in zip(whole[part], without[part], strict=True)
        )


@pytest.mark.parametrize("pupil", ["encoder", "decoder"])
def test_seeds_trained_at_once_teach_the_same_part(pupil, digits, small):
    options = {**small("aavae").config, "weights": 0.5, "samples_teach": pupil}

    def trained(method: str) -> list[Tensor]:
        runs = fit_seeds(
            "aavae", digits.binarised(0), options=options, seeds=[0, 1], method=method, processes=1,
            steps=3, batch_size=4, dtype=torch.float64, device="cpu", progress=False,
        )  # fmt: skip
        return [parameter for run in runs for parameter in run.model.parameters()]

    for one, other in zip(trained("stack"), trained("processes"), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["aavae", "aacvae", "aasvae"])
def test_weights_are_an_option_that_a_checkpoint_keeps(name, small):
    model = small(name, weights="level")
    assert model.config["weights"] == "level"
    assert models.create(name, **model.config).weights == "level"
    assert small(name).weights == "each"
    assert models.create(name, **small(name, weights=0.07).config).weights == 0.07


@pytest.mark.parametrize("name", ["aavae", "aacvae"])
def test_what_samples_teach_is_an_option_that_a_checkpoint_keeps(name, small):
    model = small(name, samples_teach="encoder")
    assert models.create(name, **model.config).samples_teach == "encoder"
    assert small(name).samples_teach == "both"
    assert "samples_teach" not in small(name).config


def test_pools_of_other_sizes_count_half_each():
    model = KnownCost(0.0)
    data = Batch(torch.ones(3, 1, dtype=torch.float64))
    generated = Batch(torch.full((9, 1), 5.0, dtype=torch.float64))
    loss = model.activated_loss(data, generated, model.judge, model.negative_elbo)
    assert loss.value.item() == pytest.approx(0.25 * 3 + 0.25 * 15)
    loss = model.adversary_loss(data, generated, model.judge)
    assert loss.value.item() == pytest.approx(log(2))


def test_a_judge_may_read_labels_and_the_cost_too():
    """What a conditional model does: D(x, c) and -ELBO(x|c), samples of the data's classes."""

    class WithLabels(KnownCost):
        name = "known-cost-with-labels"

        def judge(self, pool: Batch) -> Tensor:
            return torch.where(pool.label == 1, 50.0, -50.0).double()

        def negative_elbo(self, pool: Batch) -> Tensor:
            return pool.label * pool.x.squeeze(-1)

    label = torch.tensor([0, 1, 1, 0])
    model, batch = WithLabels(), Batch(torch.ones(4, 1, dtype=torch.float64), label)
    loss = model.loss("variational", batch)
    assert loss.value.item() == pytest.approx(0.5 * 0.5 * 1 + 0.5 * 0.5 * 2)
    assert loss.terms["weight of samples"].item() == pytest.approx(0.5)


def test_two_pools_with_judges_of_their_own():
    """What a semi-supervised model does: one call of each part for each pool, added."""

    class TwoPools(KnownCost):
        name = "two-pools"

        def variational_loss(self, batch: Batch) -> Loss:
            total = super().variational_loss(batch).value
            other = self.observed(batch.other)
            generated = frozen(self.dreams(other))
            second = self.activated_loss(other, generated, lambda p: -self.judge(p), lambda p: 1e3)
            return Loss(total + second.value, {})

        def negative_elbo(self, pool: Batch) -> Tensor:
            return self.price * pool.x.squeeze(-1)

    one = torch.ones(2, 1, dtype=torch.float64)
    model, batch = TwoPools(0.7), Batch(one, other=Batch(one[:1]))
    first = 0.5 * sigmoid(0.7) * 3 + 0.5 * sigmoid(1.4) * 6
    second = 0.5 * 1e3 * (1 - sigmoid(0.7)) + 0.5 * 1e3 * (1 - sigmoid(1.4))
    assert model.loss("variational", batch).value.item() == pytest.approx(first + second)


# ---- who moves whom ------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"likelihood": "gaussian"}])
def test_each_phase_moves_its_own_networks(digits, small, options):
    model, batch = small("aavae", **options), Batch(digits.images())
    for phase in model.phases:
        value = model.loss(phase.name, batch).value
        for part in ("discriminator", "encoder", "decoder"):
            parameters = list(model.get_submodule(part).parameters())
            found = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
            moved = any(g is not None and g.abs().max() > 0 for g in found)
            assert moved == (part in phase.moves)


def test_samples_are_made_once_a_step(digits, small, monkeypatch):
    model, batch = small("aavae"), Batch(digits.images())
    seen = []

    def judge(pool: Batch) -> Tensor:
        seen.append(pool.x)
        return model.discriminator(pool.x)

    monkeypatch.setattr(model, "judge", judge)
    model.loss("discriminator", batch)
    model.loss("variational", batch)
    assert torch.equal(seen[0], seen[1])  # the same pixels of data and samples, drawn once
    model.loss("discriminator", Batch(digits.images()))
    assert not torch.equal(seen[0], seen[2])


def test_the_reparameterised_samples_of_a_gaussian_decoder_are_frozen(small):
    model = small("aavae", likelihood="gaussian", shape=(2,))
    drawn = model.dreams(Batch(torch.zeros(5, 2)))
    assert not drawn.x.requires_grad
    live = Batch(torch.ones(2, 1, requires_grad=True) * 2, None, torch.ones(2, requires_grad=True))
    held = frozen(live)
    assert not held.x.requires_grad
    assert not held.weight.requires_grad


# ---- data and samples look alike -----------------------------------------------------------------


def test_grey_images_are_drawn_and_binary_ones_are_left(digits, small):
    model = small("aavae")
    batch = Batch(digits.images())
    seen = model.observed(batch).x
    assert ((seen == 0) | (seen == 1)).all()
    assert torch.equal(model.observed(batch).x, seen)  # once a step
    torch.manual_seed(0)
    mean = torch.stack([model.observed(Batch(digits.images())).x for _ in range(400)]).mean(0)
    assert (mean - digits.images()).abs().max() < 5 * 0.5 / 400**0.5
    binary = digits.binarised(seed=0).images()
    assert torch.equal(model.observed(Batch(binary)).x, binary)
    gaussian = small("aavae", likelihood="gaussian")
    assert torch.equal(gaussian.observed(batch).x, batch.x)


def test_dreams_are_draws_from_the_model():
    """One code coordinate and an open decoder: P(pixel = 1) = E_z sigmoid(z + b)."""
    model = AAVAE(shape=(1, 1, 2), latent=1)

    class Pixels(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            return torch.cat([z, z - 1], -1).reshape(-1, 1, 1, 2)

    model.decoder.body = Pixels()
    torch.manual_seed(0)
    x = model.dreams(Batch(torch.zeros(20_000, 1, 1, 2))).x
    assert x.shape == (20_000, 1, 1, 2)
    assert ((x == 0) | (x == 1)).all()
    grid = torch.linspace(-8, 8, 4001)
    density = (-0.5 * grid.square()).softmax(0)
    both = torch.sigmoid(grid) * torch.sigmoid(grid - 1)
    assert x[..., 0].mean().item() == pytest.approx(0.5, abs=0.015)
    second = (density * torch.sigmoid(grid - 1)).sum().item()
    assert x[..., 1].mean().item() == pytest.approx(second, abs=0.015)
    # One code makes both pixels: they go together more often than independent ones would.
    together = (x[..., 0] * x[..., 1]).mean().item()
    assert together == pytest.approx((density * both).sum().item(), abs=0.015)
    assert together > 0.5 * second + 0.02


# ---- the model -----------------------------------------------------------------------------------


def test_told_it_trains_as_half_a_vae_does(digits, small):
    """The same encoder and decoder, the same draws of codes: gradients are half of the VAE's."""
    model = small("aavae")
    vae = small("vae")
    vae.load_state_dict(
        {n: p for n, p in model.state_dict().items() if not n.startswith("discriminator")}
    )
    x = digits.binarised(seed=0).images()
    n = len(x)
    sure = torch.cat([torch.full((n,), 200.0), torch.full((n,), -200.0)])
    model.judge = lambda pool: sure  # type: ignore[method-assign]
    noise = torch.randn(1, 2 * n, 3)
    model.encoder.forward = _with_noise(model.encoder.forward, noise)  # type: ignore[method-assign]
    vae.encoder.forward = _with_noise(vae.encoder.forward, noise[:, :n])  # type: ignore[method-assign]
    parts = ("encoder", "decoder")
    left = [p for part in parts for p in model.get_submodule(part).parameters()]
    right = [p for part in parts for p in vae.get_submodule(part).parameters()]
    found = torch.autograd.grad(model.loss("variational", Batch(x)).value, left)
    wanted = torch.autograd.grad(vae.loss("variational", Batch(x)).value, right)
    for a, b in zip(found, wanted, strict=True):
        assert torch.allclose(a, 0.5 * b, atol=1e-5)


def _with_noise(forward, noise: Tensor):
    def encode(x: Tensor):
        q = forward(x)
        q.sample = lambda k=1: (
            type(q).sample(q, k)._replace(value=q.mean + torch.exp(0.5 * q.log_var) * noise)
        )
        return q

    return encode


def test_it_is_measured_and_sampled_like_a_vae(digits, small):
    model = small("aavae")
    assert isinstance(model, VAE)
    assert model.elbo(digits.images()).shape == (21,)
    assert model.log_weights(digits.images(), 4).shape == (4, 21)
    assert model.sample(3).shape == (3, 1, 4, 4)
    assert model.is_game()
    assert set(model.config) == {"shape", "network", "latent", "likelihood"}
    assert models.create("aavae", **model.config).latent == 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"latent": 0}, "latent is 0"),
        ({"likelihood": "poisson"}, "no likelihood 'poisson'"),
        ({"weights": "all"}, "no weights 'all'; choose one of: each, level"),
        ({"samples_teach": "prior"}, "no samples_teach 'prior'; choose one of: both, encoder"),
        ({"weights": 1.5}, "weights is 1.5, .*give one from 0 to 1, or 'each' or 'level'"),
        ({"weights": nan}, "weights is nan, .*give one from 0 to 1"),
        ({"weights": True}, "no weights 'True'"),
        ({"beta": 2.0}, "no option of 'aavae' 'beta'"),
    ],
)
def test_bad_options_are_one_sentence(options, words, small):
    with pytest.raises(ValueError, match=words) as caught:
        small("aavae", **options)
    assert "\n" not in str(caught.value)


def test_the_hooks_must_be_given():
    class Without(ActiveAdversary):
        name = "without-hooks"

    model = Without(shape=(1,))
    with pytest.raises(NotImplementedError):
        model.dreams(Batch(torch.zeros(1, 1)))
    with pytest.raises(NotImplementedError):
        model.negative_elbo(Batch(torch.zeros(1, 1)))
