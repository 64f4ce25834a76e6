# Generated from exercises/capstone/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q3"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q3(autoencoder_loss):
    import torch

    from unigen_edu.standins import there

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    def probe(answer, values, eta, t, w, x, p_data):
        """Value, and gradients in codes, their logits and the decoder's parameters."""
        from unigen_edu.declarations import Batch, Sample

        v, e, w = (part.clone().requires_grad_() for part in (values, eta, w))
        loss = answer(
            lambda x, z: t[0] * x * z + t[1] * z**2,
            lambda x, z: -0.5 * (x - w[0] * z - w[1]) ** 2,
            Batch(x, weight=p_data),
            Sample(v, e.softmax(0)),
        )
        if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
            return None
        if not loss.requires_grad:
            return [float(loss), None, None, None]
        found = torch.autograd.grad(loss.reshape(()), (v, e, w), allow_unused=True)
        return [float(loss.detach()), *found]

    values = numbers([[0.5, -1.0, 0.3], [-0.6, 0.2, 1.4], [1.2, 0.9, -0.7]])
    eta = numbers([[0.2, -0.5, 0.1], [0.6, 0.3, -0.4], [-0.3, 0.8, 0.5]])
    world = (numbers([0.4, -0.3]), numbers([0.8, 0.1]), numbers([1.0, -0.5, 0.4]))
    result = None
    if callable(autoencoder_loss):
        given = (values, eta, *world, numbers([0.2, 0.5, 0.3]))
        result = there(probe, autoencoder_loss, *given)
    assert result is not None, "`autoencoder_loss` does not return a scalar tensor yet."
    value, of_codes, of_weights, of_decoder = result
    why = None
    if not abs(value - 0.38327877) < 1e-6:
        why = f"The loss is {value:.6f}, which is not minus the ELBO that this judge stands for."
        seen = {
            0.24452795: "The contrast is missing: this T is not log q - log p, but log q - log r.",
            1.46161126: "The density r is missing: what of log q does the judge not know?",
            2.53994375: "The density r has the wrong sign: T is log q - log r.",
            -0.83380454: "The prior is missing.",
            -2.05088785: "The prior has the wrong sign: codes that it likes are cheap.",
            0.80031702: "T has the wrong sign.",
            -0.52281538: "The decoder has the wrong sign: a likely image makes the loss small.",
            -0.06976831: "The decoder is missing: nothing holds the codes to their images.",
            0.10577714: "Contrast and prior are exchanged.",
            -0.38327877: "This is the ELBO, and a loss is descended.",
            0.36285474: "The images count equally, but `batch.weight` holds their probabilities.",
            0.15944820: "The weights are missing: `mean` is right for draws only.",
            0.28303289: "Mean and variance of r ignore the weights of the codes.",
            0.35587973: "The scale of r is off: `log_normal` takes a variance.",
        }
        for number, sentence in seen.items():
            if abs(value - number) < 1e-6:
                why = sentence
    elif of_decoder is None or not abs(float(of_decoder[0]) - 0.57419966) < 1e-6:
        why = "The value is right, but the decoder's gradient is not."
    elif of_codes is None:
        why = "No gradient reaches the encoder's codes: through them it learns."
    elif not abs(float(of_codes[0, 0]) + 0.03541890) < 1e-6:
        why = "The gradient in the codes is wrong: which of the four terms do they enter?"
        if abs(float(of_codes[0, 0]) + 0.04187394) < 1e-6:
            why = "The judge is detached as a whole: its parameters are frozen, not its input."
    elif of_weights is None or not abs(float(of_weights[0, 0]) - 0.00508116) < 1e-6:
        why = "The gradient does not pass through the probabilities of the codes as it should."
    assert why is None, why
