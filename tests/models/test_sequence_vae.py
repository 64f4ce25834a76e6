"""The VAE of sequences: a VAE whose bound, code and samples are those of a chain."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from unigen_edu import models
from unigen_edu.declarations import Batch
from unigen_edu.errors import UnigenError
from unigen_edu.models.sequence_vae import SequenceVAE


@pytest.fixture
def model() -> SequenceVAE:
    return models.create("sequence-vae", shape=(5,), vocabulary=4, latent=3, hidden=6)


def names(n: int) -> Tensor:
    return torch.randint(0, 4, (n, 5), generator=torch.Generator().manual_seed(0))


def test_the_loss_is_minus_the_mean_elbo_with_torchs_kl(model):
    x = names(9)
    torch.manual_seed(0)
    elbo = model.elbo(x)
    torch.manual_seed(0)
    loss = model.loss("variational", Batch(x))
    assert elbo.shape == (9,)
    assert torch.allclose(loss.value, -elbo.mean())
    q = model.encoder(x)
    kl = kl_divergence(Normal(q.mean, torch.exp(q.log_var / 2)), Normal(0.0, 1.0)).sum(1).mean()
    assert loss.terms["KL(q||p)"].item() == pytest.approx(kl.item(), rel=1e-5)
    torch.manual_seed(0)
    z = q.sample().value
    reconstruction = -model.decoder.log_prob(x, z).mean()
    assert loss.terms["reconstruction"].item() == pytest.approx(reconstruction.item(), rel=1e-5)


def test_tokens_are_summed_and_sequences_are_averaged(model):
    for parameter in model.decoder.parameters():
        torch.nn.init.zeros_(parameter)
    for n in (1, 7):
        terms = model.loss("variational", Batch(names(n))).terms
        assert terms["reconstruction"].item() == pytest.approx(5 * math.log(4), rel=1e-6)


def test_beta_and_free_bits_price_the_kl():
    x = names(9)

    def parts(**options: float) -> tuple[float, float, Tensor]:
        model = models.create(
            "sequence-vae", shape=(5,), vocabulary=4, latent=3, hidden=6, **options
        )
        torch.manual_seed(0)
        loss = model.loss("variational", Batch(x))
        by_coordinate = model.encoder(x).kl_q_p_by_coordinate().mean(0)
        rest = (loss.value - loss.terms["reconstruction"]).item()
        return rest, loss.terms["KL(q||p)"].item(), by_coordinate

    price, kl, _ = parts()
    assert price == pytest.approx(kl, abs=1e-5)
    price, kl, _ = parts(beta=0.25)
    assert price == pytest.approx(kl / 4, abs=1e-5)
    price, _, by_coordinate = parts(free_bits=0.5)
    assert (by_coordinate < 0.5).all()  # fresh networks say little: everything is free
    assert price == pytest.approx(1.5, abs=1e-5)


def test_log_weights_average_to_the_elbo_and_use_the_right_densities(model):
    x = names(2)
    torch.manual_seed(0)
    with torch.no_grad():
        log_w = model.log_weights(x, 4000)
        torch.manual_seed(1)
        elbo = torch.stack([model.elbo(x) for _ in range(500)])
    assert log_w.shape == (4000, 2)
    error = (log_w.std(0) ** 2 / 4000 + elbo.std(0) ** 2 / 500).sqrt()
    assert ((log_w.mean(0) - elbo.mean(0)).abs() < 5 * error).all()
    # As many sequences as there are: their importance weighted probabilities sum to one.
    small = models.create("sequence-vae", shape=(3,), vocabulary=2, latent=2, hidden=4)
    every = torch.cartesian_prod(*[torch.arange(2)] * 3)
    with torch.no_grad():
        log_p = small.log_weights(every, 3000).logsumexp(0) - math.log(3000)
    assert log_p.exp().sum().item() == pytest.approx(1.0, abs=0.01)


def test_word_dropout_is_training_only(model):
    hidden = models.create(
        "sequence-vae", shape=(5,), vocabulary=4, latent=3, hidden=6, word_dropout=0.9
    )
    hidden.load_state_dict(model.state_dict())
    x = names(9)

    def loss(of: SequenceVAE) -> float:
        torch.manual_seed(0)
        return of.loss("variational", Batch(x)).value.item()

    assert loss(hidden) != loss(model)
    assert loss(hidden.eval()) == loss(model.eval())


def test_reconstructions_and_samples_are_tokens(model):
    torch.manual_seed(0)
    x = model.sample(60)
    assert x.shape == (60, 5)
    assert x.dtype == torch.int64
    assert set(x.unique().tolist()) == {0, 1, 2, 3}
    rebuilt = model.reconstruct(x)
    assert rebuilt.shape == x.shape
    assert torch.equal(rebuilt, model.decoder.most_likely(model.encoder(x).mean))


def test_both_networks_get_a_gradient(model):
    loss = model.loss("variational", Batch(names(9))).value
    for gradient in torch.autograd.grad(loss, list(model.parameters())):
        assert gradient.abs().max() > 0


def test_the_model_is_made_again_from_its_config(model):
    again = models.create("sequence-vae", **model.config)
    assert again.config == model.config
    assert [p.shape for p in again.parameters()] == [p.shape for p in model.parameters()]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"shape": (1, 28, 28)}, "give shape="),
        ({"vocabulary": 1}, "vocabulary is 1"),
        ({"latent": 0}, "latent is 0"),
        ({"hidden": 0}, "hidden is 0"),
        ({"word_dropout": 1.5}, "word_dropout is 1.5"),
        ({"beta": -1.0}, "beta is -1.0"),
        ({"free_bits": -1.0}, "free_bits is -1.0"),
        ({"likelihood": "bernoulli"}, "no option of 'sequence-vae' 'likelihood'"),
    ],
)
def test_bad_options_are_one_sentence(options, words):
    with pytest.raises(UnigenError, match=words) as caught:
        models.create("sequence-vae", **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("k", [0, 1.5])
def test_a_bound_needs_a_draw(model, k):
    with pytest.raises(UnigenError, match="k is"):
        model.log_weights(names(2), k)
