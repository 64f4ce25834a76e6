"""Models are found by their name; a wrong name says what is right."""

from __future__ import annotations

import re
import sys

import pytest
import torch

from unigen_edu import models
from unigen_edu.checkpoints import parameter_checksum
from unigen_edu.declarations import Model
from unigen_edu.errors import UnigenError


def one_sentence(caught: pytest.ExceptionInfo[UnigenError]) -> str:
    message = str(caught.value)
    assert "\n" not in message
    assert message[-1] in ".?"
    return message


def test_every_model_is_listed_and_parents_come_before_children():
    found = models.names()
    assert set(found) >= {"gan", "vae", "iwgan"}
    assert found.index("gan") < found.index("iwgan")
    for name in found:
        assert issubclass(models.get(name), Model)
        assert models.get(name).name == name


@pytest.mark.parametrize(
    ("given", "near"), [("iwgn", "iwgan"), ("VAE", None), ("gann", "gan"), ("diffusion", None)]
)
def test_an_unknown_model_gets_the_list_and_the_nearest_name(given, near):
    with pytest.raises(UnigenError, match=f"no model '{given}'; choose one of: ") as caught:
        models.get(given)
    message = one_sentence(caught)
    assert all(name in message for name in models.names())
    assert (f"Did you mean '{near}'?" in message) if near else ("Did you mean" not in message)


def test_an_unknown_option_gets_the_list_and_the_nearest_name():
    with pytest.raises(UnigenError, match=r"no option of 'vae' 'latnet'; choose one of") as caught:
        models.create("vae", latnet=3)
    assert "Did you mean 'latent'?" in one_sentence(caught)
    with pytest.raises(UnigenError, match="no option of 'iwgan' 'objective'"):
        models.create("iwgan", objective="minimax")  # its weights hold for one objective only
    with pytest.raises(UnigenError, match="no option of 'gan' 'k'"):
        models.create("gan", k=5)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("gan", {"latent": 0}, "latent is 0"),
        ("gan", {"latent": "many"}, "latent is 'many'"),
        ("vae", {"latent": 2.5}, "latent is 2.5"),
        ("iwgan", {"k": 0}, "k is 0"),
        ("gan", {"objective": "wasserstein"}, "no objective 'wasserstein'; choose one of"),
        ("vae", {"likelihood": "poisson"}, "no likelihood 'poisson'; choose one of"),
        ("vae", {"shape": (2,)}, "use likelihood='gaussian' for points"),
        ("gan", {"network": "unet"}, "no network 'unet'"),
        ("iwgan", {"network": "conv", "shape": (1, 16, 16)}, "28x28 or 32x32"),
        ("gan", {"seed": -1}, "seed is -1"),
        ("gan", {"seed": 2**63}, "seed is 9223372036854775808"),
    ],
)
def test_options_out_of_range_are_one_sentence(name, options, words):
    with pytest.raises(UnigenError, match=re.escape(words)) as caught:
        models.create(name, **options)
    one_sentence(caught)


def test_options_are_those_of_the_constructor():
    assert models.options("iwgan") == {
        "shape": (1, 28, 28),
        "network": "mlp",
        "latent": 64,
        "k": 5,
        "power": 1.0,
    }


@pytest.mark.parametrize("network", ["mlp", "conv"])
@pytest.mark.parametrize("name", [n for n in models.names() if "network" in models.options(n)])
def test_create_is_a_function_of_its_seed_and_leaves_the_callers_state_alone(name, network):
    torch.manual_seed(11)
    state = torch.get_rng_state()
    first = parameter_checksum(models.create(name, seed=3, network=network))
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(5)
    assert parameter_checksum(models.create(name, seed=3, network=network)) == first
    assert parameter_checksum(models.create(name, seed=4, network=network)) != first


def test_adding_a_model_is_adding_one_file(tmp_path, monkeypatch):
    (tmp_path / "gan_for_this_test.py").write_text(
        "from unigen_edu.models.gan import GAN\n\n"
        "class TestGAN(GAN):\n"
        '    name = "gan-for-this-test"\n'
        '    chapter = "99_test"\n'
    )
    monkeypatch.setattr(models, "__path__", [*models.__path__, str(tmp_path)])
    models._registry.cache_clear()
    try:
        assert models.names()[-1] == "gan-for-this-test"
        assert models.create("gan-for-this-test", latent=2).config["latent"] == 2
    finally:
        monkeypatch.undo()
        models._registry.cache_clear()
        sys.modules.pop("unigen_edu.models.gan_for_this_test", None)
        vars(models).pop("gan_for_this_test", None)
    assert "gan-for-this-test" not in models.names()
