# Generated from exercises/10_lemma2/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q1"
points = 2
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q1(hesitating):
    import math

    import torch

    from unigen_edu.exact import gradient
    from unigen_edu.exact.vae import VAEWorld

    def near(left, right):
        return abs(left - right) < 1e-9

    def numbers(delta):
        answer = hesitating(0.3, delta) if callable(hesitating) else None
        usable = isinstance(answer, (tuple, list)) and len(answer) == 3
        usable = usable and not any(part is ... or part is None for part in answer)
        assert usable, "`hesitating` does not return the three numbers A, B and K yet."
        return [float(part) for part in answer]

    A, B, K = numbers(0.1)
    world = VAEWorld.random(5, n_x=4, n_z=2, p_y=(0.7, 0.3))
    says = torch.tensor([[0.1, 0.9], [0.9, 0.1]], dtype=torch.float64)  # axes (s, y)
    judge = says[:, :, None].expand(2, 2, 4)
    theta = world.other_theta()

    def ours(t):
        return -(A * world.p_data + B * world.p_g()) @ world.elbo(t)

    slope = gradient(lambda t: world.line1(t, judge=judge), theta)
    why = None
    if not torch.allclose(gradient(ours, theta), slope, rtol=0, atol=1e-9):
        why = "A and B do not give the gradient of line 1 when p(y=1) = 0.3 and delta = 0.1."
        if near(A, 0.9) or near(B, 0.1):
            why = "A weight p(s) is missing: the average runs over the origin too."
        elif near(A, 0.3) and near(B, 0):
            why = "These are the weights of the perfect judge: this one hesitates."
        elif near(A, 0.27) and near(B, 0.63):
            why = "B belongs to samples that are explained as generated: how likely is that?"
        elif near(A, 0.03) or near(B, 0.63):
            why = "This judge is not reversed: data should be explained as generated."
        elif near(A, 0.63) or near(B, 0.03):
            why = "The two origins look exchanged: p(y=1) = 0.3 is the share of the data."
    assert why is None, why
    entropy = 0.9 * math.log(0.9) + 0.1 * math.log(0.1)
    own = sum(
        float(share * (row * (row / world.p_y).log()).sum())
        for share, row in zip(world.p_y, says, strict=True)
    )
    if not near(K, own):
        why = "A and B are right, and K is not the judge's own term, averaged over the origin."
        if near(K, -own):
            why = "The sign of K is wrong: line 1 is a loss, and a KL divergence adds to it."
        elif near(K, entropy):
            why = "K is minus the judge's entropy: a KL divergence to p(y) has p(y) in it too."
        elif near(K, numbers(0)[2]):
            why = "This K belongs to a judge without doubt: with delta it becomes smaller."
    assert why is None, why
    if not all(math.isfinite(part) for part in numbers(0.0)):
        why = "With delta = 0 the answer is not finite: 0 log 0 has to be made zero."
    assert why is None, why
