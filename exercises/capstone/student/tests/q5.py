# Generated from exercises/capstone/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q5"
points = 4
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q5(AVB):
    import math

    import torch

    from unigen_edu.standins import there

    def probe(model_class):
        """What phases and losses do, and how they react to a judge that is moved by one."""
        import torch

        from unigen_edu.declarations import Batch

        model = model_class()
        if not isinstance(model.phases, tuple):
            return None
        x = torch.tensor([[0.4, -0.3], [1.0, 0.7], [-0.8, 0.2]], dtype=torch.float64)

        def losses():
            state, batch = torch.get_rng_state(), Batch(x)
            torch.manual_seed(3)
            found = [model.loss(p.name, batch) for p in model.phases]
            again = model.loss(model.phases[-1].name, batch).value
            torch.set_rng_state(state)
            return [f.value for f in found] + [again]

        torch.nn.init.constant_(model.judge.body.weight, 0.004)
        before = losses()
        encoder = list(model.encoder.parameters())
        leak = torch.autograd.grad(before[0], encoder, allow_unused=True, retain_graph=True)
        path = torch.autograd.grad(before[1], encoder, allow_unused=True, retain_graph=True)
        decoder = list(model.decoder.parameters())
        image = torch.autograd.grad(before[1], decoder, allow_unused=True)
        with torch.no_grad():
            model.judge.body.bias += 0.025  # T + 1
        after = losses()
        with torch.no_grad():
            model.encoder.body.bias.fill_(5.0)
            model.judge.body.weight.zero_()
            model.judge.body.bias.zero_()
            model.judge.body.weight[0, 8] = 0.05  # T = 2 z: sure of codes near 5
        return {
            "sure": float(losses()[0].detach()),
            "image": all(part is not None for part in image),
            "phases": [[p.name, sorted(p.moves)] for p in model.phases],
            "leak": any(part is not None and bool((part != 0).any()) for part in leak),
            "path": all(part is not None for part in path),
            "shift": float((after[1] - before[1]).detach()),
            "shared": float((before[2] - before[1]).detach()),
            "numbers": [float(v.detach()) for v in before],
        }

    def train(model_class, x, seed):
        """The parameters of a model after training."""
        import torch

        from unigen_edu.data import Dataset
        from unigen_edu.training import fit

        torch.manual_seed(seed)
        model = model_class()
        fit(
            model, Dataset(x.float(), name="cloud"), steps=250, batch_size=512, lr=4e-3,
            betas=(0.5, 0.99), seed=seed, device="cpu", progress=False, log_every=250,
        )  # fmt: skip
        return {
            "encoder": [p.detach() for p in (model.encoder.body.weight, model.encoder.body.bias)],
            "decoder": [p.detach() for p in (model.decoder.body.weight, model.decoder.body.bias)],
            "log_var": model.decoder.log_var.detach(),
        }

    def exact_elbo(found, x):
        (a, b), (w, c) = found["encoder"], found["decoder"]
        mean, var = x @ a[0, :2] + b, a[0, 2] ** 2
        kl = 0.5 * (mean**2 + var - 1 - var.log())
        squared = (x - c - mean[:, None] * w[:, 0]).square().sum(-1) + var * w[:, 0] @ w[:, 0]
        rest = found["log_var"] + math.log(2 * math.pi)
        return float((-0.5 * squared / found["log_var"].exp() - rest - kl).mean())

    assert callable(AVB), "`AVB` is not a class yet."
    seen, error = None, None
    try:
        seen = there(probe, AVB)
    except Exception as caught:
        error = str(caught).replace(". ", ", ").splitlines()[0][:100] if str(caught) else "an error"
    assert error is None, f"The losses of a small batch end in an error: {error}"
    assert seen is not None, "`phases` is not a tuple of two phases yet."
    names = [["discriminator", ["judge"]], ["autoencoder", ["decoder", "encoder"]]]
    why = None
    if [name for name, _ in seen["phases"]] != ["discriminator", "autoencoder"]:
        why = "The phases should be called discriminator and autoencoder, in this order."
    elif seen["phases"] != names:
        why = "A phase moves other networks than it should: who stands still while who learns?"
    elif not all(math.isfinite(value) for value in seen["numbers"]):
        why = "A loss is not a finite number."
    elif not abs(seen["shared"]) < 1e-9:
        why = "Two looks at one batch see different codes: `batch.once` keeps a draw for the step."
    elif seen["leak"]:
        why = "The judge's loss has a gradient in the encoder: its codes are constants there."
    elif abs(seen["shift"]) < 1e-9:
        why = "A judge who says one more everywhere changes nothing in your autoencoder's loss."
    elif abs(seen["shift"] + 1) < 1e-9:
        why = "T has the wrong sign in your autoencoder's loss."
    elif abs(seen["shift"] - 0.5) < 1e-9:
        why = "T counts half in your autoencoder's loss: a KL divergence is not halved here."
    elif not abs(seen["shift"] - 1) < 1e-9:
        why = "The autoencoder's loss takes T as it is, neither squashed nor scaled: does yours?"
    elif not seen["sure"] < 2.5:
        why = "A judge who knows the encoder's codes has a large loss: which pairs have y = 1?"
    elif not seen["image"]:
        why = "The autoencoder's loss has no gradient in the decoder: who explains the image?"
    elif not seen["path"]:
        why = "The autoencoder's loss has no gradient in the encoder: it learns through its codes."
    assert why is None, why
    g = torch.Generator().manual_seed(1)
    axis, centre = torch.tensor([0.9, 0.7]).double(), torch.tensor([0.2, -0.3]).double()

    def points(n):
        along = torch.randn(n, 1, generator=g, dtype=torch.float64) * axis
        return centre + along + 0.6 * torch.randn(n, 2, generator=g, dtype=torch.float64)

    x, fresh = points(2000), points(1000)
    law = torch.distributions.MultivariateNormal(
        centre, axis[:, None] * axis + 0.36 * torch.eye(2, dtype=torch.float64)
    )
    try:
        found = there(train, AVB, x, 5)
    except Exception as caught:
        error = str(caught).replace(". ", ", ").splitlines()[0][:100] if str(caught) else "an error"
    assert error is None, f"Training ends in an error: {error}"
    short = float(law.log_prob(fresh).mean()) - exact_elbo(found, fresh)
    if not short < 0.08:
        why = f"The exact ELBO of the trained model is {short:.3g} nats below the best one"
        a = found["encoder"][0][0]
        if float(a[2].abs()) < 0.1:
            why = "The encoder has become nearly deterministic: nothing keeps q near the prior."
        elif short > 5:
            why += ", further than at the start: is a term reversed?"
    assert why is None, why
