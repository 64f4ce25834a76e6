# Generated from exercises/capstone/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q2"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q2(discriminator_loss):
    import torch

    from unigen_edu.standins import there

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    def probe(answer, table, eta, p_z, p_data, share):
        """Value, and gradients in the judge's table and in the encoder's logits."""
        from unigen_edu.declarations import Batch, Sample

        table, eta = table.clone().requires_grad_(), eta.clone().requires_grad_()
        n_x, n_z = table.shape
        z = torch.arange(n_z)[:, None].expand(n_z, n_x)
        codes = Sample(z, eta.softmax(-1).T)
        prior = Sample(z, p_z[:, None].expand(n_z, n_x))
        batch = Batch(torch.arange(n_x), weight=p_data)
        loss = answer(lambda x, z: table[x.expand(z.shape), z], batch, codes, prior, share)
        if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
            return None
        if not loss.requires_grad:
            return [float(loss), None, None]
        found = torch.autograd.grad(loss.reshape(()), (table, eta), allow_unused=True)
        return [float(loss.detach()), *found]

    table = numbers([[0.6, -0.4], [-0.9, 0.8], [0.2, 0.5]])
    eta = numbers([[0.7, -0.2], [-0.4, 0.9], [0.3, 0.1]])
    p_z, p_data = numbers([0.65, 0.35]), numbers([0.2, 0.5, 0.3])
    result = None
    if callable(discriminator_loss):
        result = there(probe, discriminator_loss, table, eta, p_z, p_data, 0.25)
    assert result is not None, "`discriminator_loss` does not return a scalar tensor yet."
    value, of_judge, of_encoder = result
    why = None
    if not abs(value - 0.53117912) < 1e-6:
        why = f"The loss is {value:.6f}, which is not the mean over the pool with a share of 0.25."
        seen = {
            0.69748617: "The classifier's logit is T alone: what is then its best T on this pool?",
            1.12505143: "The shift of the logit has the wrong sign: which label is rare here?",
            0.52821558: "The logit is shifted by the log of a share: what are the odds?",
            0.73553133: "Both halves count equally, but the pool has a share of 0.25.",
            0.93988354: "The shares of the two halves are exchanged.",
            0.65045505: "This is the loss for a pool of equal halves.",
            1.18390141: "The labels are exchanged: y = 1 is a code of the encoder.",
            0.54596367: "The images count equally, but `batch.weight` holds their probabilities.",
            0.59762680: "The weights are missing: `mean` is right for draws only.",
            1.47106267: "The shares are in the logit but not in the average over the pool.",
        }
        for number, sentence in seen.items():
            if abs(value - number) < 1e-6:
                why = sentence
    elif of_judge is None or not bool((of_judge.abs() > 1e-9).all()):
        why = "The value is right, but some of the judge's entries do not move."
    elif of_encoder is not None and not float(of_encoder.abs().max()) < 1e-12:
        why = "A gradient flows into the encoder, but only the judge moves in this phase."
    assert why is None, why
