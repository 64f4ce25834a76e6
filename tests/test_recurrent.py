"""Recurrent networks against torch's own cell and distributions, and what a chain must not know."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import OneHotCategorical

from unigen_edu.errors import UnigenError
from unigen_edu.recurrent import GRU, Reader, Writer, check_sequences, gumbel_noise, one_hot

V, T, L, HIDDEN = 5, 4, 3, 6


@pytest.fixture
def writer() -> Writer:
    torch.manual_seed(0)
    return Writer(V, T, HIDDEN, L).double()


def some(n: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randint(0, V, (n, T)), torch.randn(n, L, dtype=torch.float64)


def torch_cell(cell: GRU) -> torch.nn.GRUCell:
    theirs = torch.nn.GRUCell(cell.from_input.in_features, cell.hidden).double()
    with torch.no_grad():
        theirs.weight_ih.copy_(cell.from_input.weight)
        theirs.bias_ih.copy_(cell.from_input.bias)
        theirs.weight_hh.copy_(cell.from_state.weight)
        theirs.bias_hh.copy_(cell.from_state.bias)
    return theirs


def test_the_cell_is_torchs():
    torch.manual_seed(0)
    cell = GRU(4, HIDDEN).double()
    x, h = torch.randn(7, 4, dtype=torch.float64), torch.randn(7, HIDDEN, dtype=torch.float64)
    assert torch.allclose(cell(cell.from_input(x), h), torch_cell(cell)(x, h), atol=1e-14, rtol=0)


def test_the_reader_is_torchs_gru_and_reads_in_order():
    torch.manual_seed(0)
    reader = Reader(V, HIDDEN, 2).double()
    x, _ = some(7)
    theirs = torch_cell(reader.cell)
    h = torch.zeros(7, HIDDEN, dtype=torch.float64)
    for t in range(T):
        h = theirs(torch.nn.functional.one_hot(x[:, t], V).double(), h)
    wanted = reader.head(h)
    assert torch.allclose(reader(x), wanted, atol=1e-14, rtol=0)
    assert torch.allclose(reader(one_hot(x, V, torch.float64)), wanted, atol=1e-14, rtol=0)
    assert not torch.allclose(reader(x.flip(1)), wanted, atol=1e-3)


def test_log_prob_is_a_product_of_torchs_categoricals(writer):
    x, c = some(7)
    cell = torch_cell(writer.cell)
    h, before = torch.zeros(7, HIDDEN, dtype=torch.float64), torch.zeros(7, V, dtype=torch.float64)
    total = torch.zeros(7, dtype=torch.float64)
    for t in range(T):
        h = cell(torch.cat([before, c], 1), h)
        token = torch.nn.functional.one_hot(x[:, t], V).double()
        total += OneHotCategorical(logits=writer.head(h)).log_prob(token)
        before = token
    assert torch.allclose(writer.log_prob(x, c), total, atol=1e-13, rtol=0)


def test_many_codes_for_one_sequence(writer):
    x, _ = some(7)
    c = torch.randn(3, 7, L, dtype=torch.float64)
    together = writer.log_prob(x, c)
    assert together.shape == (3, 7)
    assert torch.allclose(together, torch.stack([writer.log_prob(x, one) for one in c]))


def test_a_token_depends_on_those_before_it_and_on_no_later_one(writer):
    """The derivative of log p(x_t | x_<t, c) by the inputs, read off the one-hot vectors."""
    x, c = some(1)
    for t in range(T):
        changed = x.clone()
        changed[0, t] = (x[0, t] + 1) % V
        difference = per_token(writer, changed, c) - per_token(writer, x, c)
        assert difference[:t].abs().max() == 0 if t else True
        assert difference[t:].abs().min() > 0  # its own probability, and all later ones


def per_token(writer: Writer, x: Tensor, c: Tensor) -> Tensor:
    """log p(x_t | x_<t, c) of every t, from the law of every beginning."""
    found, last = [], torch.zeros((), dtype=torch.float64)
    for t in range(1, T + 1):
        short = Writer(V, t, HIDDEN, L).double()
        short.load_state_dict(writer.state_dict())
        total = short.log_prob(x[:, :t], c)[0]
        found.append(total - last)
        last = total
    return torch.stack(found)


@pytest.mark.parametrize("latent", [0, L])
def test_samples_have_the_law_that_log_prob_says(latent):
    torch.manual_seed(0)
    writer = Writer(3, 2, HIDDEN, latent).double()
    for parameter in writer.parameters():
        parameter.data *= 3
    c = torch.randn(1, latent, dtype=torch.float64)
    x = torch.cartesian_prod(torch.arange(3), torch.arange(3))
    p = writer.log_prob(x, c.expand(9, latent)).exp()
    assert p.sum().item() == pytest.approx(1.0, abs=1e-12)
    assert p.max() > 2 * p.min()
    n = 30_000
    drawn = writer.sample(c.expand(n, latent))
    assert drawn.dtype == torch.int64
    share = torch.bincount(3 * drawn[:, 0] + drawn[:, 1], minlength=9) / n
    assert ((share - p).abs() < 5 * (p * (1 - p) / n).sqrt()).all()


def test_the_likeliest_token_in_every_step(writer):
    for parameter in writer.parameters():
        parameter.data *= 3
    _, c = some(7)
    x = writer.most_likely(c)
    assert len(x.unique(dim=0)) > 1
    cell = torch_cell(writer.cell)
    h, before = torch.zeros(7, HIDDEN, dtype=torch.float64), torch.zeros(7, V, dtype=torch.float64)
    for t in range(T):
        h = cell(torch.cat([before, c], 1), h)
        assert torch.equal(x[:, t], writer.head(h).argmax(1))
        before = torch.nn.functional.one_hot(x[:, t], V).double()


def test_gumbel_noise_turns_the_argmax_into_a_draw():
    torch.manual_seed(0)
    logits = torch.tensor([0.3, -1.0, 1.2], dtype=torch.float64)
    n = 50_000
    drawn = (logits + gumbel_noise(logits.expand(n, 3))).argmax(-1)
    p = logits.softmax(-1)
    assert ((torch.bincount(drawn) / n - p).abs() < 5 * (p * (1 - p) / n).sqrt()).all()
    noise = gumbel_noise(torch.zeros(n, 1))
    assert noise.isfinite().all()
    assert noise.mean().item() == pytest.approx(0.5772, abs=0.03)  # Euler's constant
    assert noise.var().item() == pytest.approx(math.pi**2 / 6, abs=0.08)


def test_gumbel_noise_is_finite_for_a_uniform_zero(monkeypatch):
    monkeypatch.setattr("unigen_edu.recurrent.uniform", lambda *shape, like: torch.zeros(shape))
    assert gumbel_noise(torch.zeros(3)).isfinite().all()


def test_relaxed_draws_are_one_hot_and_have_the_gradient_of_a_softmax(monkeypatch):
    torch.manual_seed(0)
    writer = Writer(V, 1, HIDDEN, 0).double()
    noise = torch.randn(6, V, dtype=torch.float64)
    monkeypatch.setattr("unigen_edu.recurrent.gumbel_noise", lambda like: noise)
    x = writer.relaxed_sample(torch.zeros(6, 0, dtype=torch.float64), 0.7)
    assert torch.allclose(x, one_hot(x.argmax(-1), V, x.dtype), atol=1e-12)
    weights = torch.randn(6, 1, V, dtype=torch.float64)
    found = torch.autograd.grad((weights * x).sum(), writer.head.bias)[0]
    # The logits of the first token are the same for all rows: by hand, softmax's Jacobian.
    states = []
    writer.head.register_forward_hook(lambda module, given, out: states.append(out.detach()))
    writer.sample(torch.zeros(6, 0, dtype=torch.float64))
    soft = ((states[0] + noise) / 0.7).softmax(-1)
    by_hand = soft * (weights[:, 0] - (soft * weights[:, 0]).sum(1, keepdim=True)) / 0.7
    assert torch.allclose(found, by_hand.sum(0), atol=1e-12)


def test_word_dropout_hides_tokens_in_training_only(writer):
    x, c = some(7)
    exact = writer.log_prob(x, c)
    writer.word_dropout = 1.0
    everything_hidden = writer.log_prob(x, c)
    assert not torch.allclose(everything_hidden, exact)
    other = x.clone()
    other[:, 0] = (x[:, 0] + 1) % V
    # Nothing is left of the token before: later tokens do not notice that the first has changed.
    first = Writer(V, 1, HIDDEN, L).double()
    first.load_state_dict(writer.state_dict())
    change = first.log_prob(other[:, :1], c) - first.log_prob(x[:, :1], c)
    assert torch.allclose(writer.log_prob(other, c) - everything_hidden, change, atol=1e-12)
    writer.eval()
    assert torch.equal(writer.log_prob(x, c), exact)


def test_half_of_the_tokens_are_hidden(writer):
    seen: list[Tensor] = []
    writer.cell.from_input.register_forward_hook(lambda module, given, out: seen.append(given[0]))
    writer.word_dropout = 0.5
    torch.manual_seed(0)
    x, c = some(2000)
    writer.log_prob(x, c)
    tokens, codes = seen[0][..., :V], seen[0][..., V:]
    assert torch.equal(codes, c[:, None].expand(-1, T, -1))  # the code is never hidden
    shown = tokens.sum(-1)
    assert (shown[:, 0] == 0).all()
    assert set(shown.unique().tolist()) == {0.0, 1.0}
    assert shown[:, 1:].mean().item() == pytest.approx(0.5, abs=0.03)


def test_the_networks_can_be_batched_over_models():
    """What training several seeds at once needs: torch.vmap over stacked parameters."""
    from torch.func import functional_call, stack_module_state, vmap

    torch.manual_seed(0)
    writers = [Writer(V, T, HIDDEN, L) for _ in range(3)]
    readers = [Reader(V, HIDDEN, 2) for _ in range(3)]
    x, c = some(7)
    c = c.float()

    class Both(torch.nn.Module):
        def __init__(self, writer: Writer, reader: Reader):
            super().__init__()
            self.writer, self.reader = writer, reader

        def forward(self, x: Tensor, c: Tensor) -> Tensor:
            return self.writer.log_prob(x, c) + self.reader(x).sum(1)

    models = [Both(w, r) for w, r in zip(writers, readers, strict=True)]
    parameters, _ = stack_module_state(models)
    together = vmap(lambda p: functional_call(models[0], p, (x, c)))(parameters)
    assert torch.allclose(together, torch.stack([m(x, c) for m in models]), atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "vocabulary", "words"),
    [
        ((1, 28, 28), 32, r"not samples of shape \(1, 28, 28\)"),
        ((0,), 32, "shape"),
        ((8,), 1, "vocabulary is 1"),
        ((8,), 2.0, "vocabulary is 2.0"),
        ((8,), True, "vocabulary is True"),
    ],
)
def test_what_is_no_sequence_is_one_sentence(shape, vocabulary, words):
    with pytest.raises(UnigenError, match=words):
        check_sequences(shape, vocabulary)


def test_without_a_chain_tokens_are_independent_given_the_code():
    torch.manual_seed(0)
    writer = Writer(3, 2, HIDDEN, L, chain=False).double()
    for parameter in writer.parameters():
        parameter.data *= 3
    x = torch.cartesian_prod(torch.arange(3), torch.arange(3))
    c = torch.randn(1, L, dtype=torch.float64)
    p = writer.log_prob(x, c.expand(9, L)).exp().reshape(3, 3)
    assert p.sum().item() == pytest.approx(1.0, abs=1e-12)
    assert torch.allclose(p, torch.outer(p.sum(1), p.sum(0)), atol=1e-14)
    assert not torch.allclose(p.sum(0), p.sum(1), atol=1e-2)  # it still knows which place it is at
    n = 20_000
    drawn = writer.sample(c.expand(n, L))
    share = torch.bincount(3 * drawn[:, 0] + drawn[:, 1], minlength=9) / n
    law = p.flatten()
    assert ((share - law).abs() < 5 * (law * (1 - law) / n).sqrt()).all()
