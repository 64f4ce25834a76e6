# Generated from exercises/12_joint/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q3"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q3(coefficients):
    import torch

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    w_x, w_z = 1.35, 0.9
    p_data, p_z = numbers([0.5, 0.3, 0.2]), numbers([0.6, 0.4])
    D_x, D_z = numbers([0.3, 0.6, 0.8]), numbers([0.7, 0.2])
    theta = numbers([[0.4, -0.3, 0.8], [-0.6, 0.5, 0.1]]).requires_grad_()
    eta = numbers([[0.9, -0.4], [0.2, 0.6], [-0.8, 0.3]]).requires_grad_()
    names = ["kl_images", "kl_codes", "jsd_pairs", "left_by_images", "left_by_codes"]

    answer = coefficients if isinstance(coefficients, dict) else {}
    usable = all(isinstance(answer.get(name), (int, float)) for name in names)
    assert usable, "`coefficients` still has dots in it: give each of the five names a number."
    pairs = torch.stack(
        [(p_z[:, None] * theta.softmax(-1)).T, p_data[:, None] * eta.softmax(-1)]
    )
    x, z = pairs.sum(2), pairs.sum(1)

    def jsd(p):
        p = p.flatten(1)
        return (p * (p / p.mean(0)).log()).sum() / 2

    def kl_and_loss(p, D):
        q_r = torch.stack([D, 1 - D])
        target = (q_r * p.detach().mean(0)).log().log_softmax(-1)
        return (p * (p.log() - target)).sum() / 2, -(p * q_r.log()).sum() / 2

    (kl_x, loss_x), (kl_z, loss_z) = kl_and_loss(x, D_x), kl_and_loss(z, D_z)
    terms = [kl_x, kl_z, jsd(pairs), jsd(pairs) - jsd(x), jsd(pairs) - jsd(z)]
    along = numbers([[1.0, 0, -1, 0, 0.5, 1], [0, 1.0, 0, -0.5, 1, 0], [0.5, -1, 0, 1, 1, -1]])

    def slopes(value):  # along three directions of (theta, eta)
        grads = torch.autograd.grad(value, [theta, eta], retain_graph=True, allow_unused=True)
        flat = [torch.zeros_like(along[0]) if g is None else g.flatten() for g in grads]
        return along @ flat[0] + along.flip(0) @ flat[1]

    table = torch.stack([slopes(term) for term in terms])
    wanted = slopes(w_x * loss_x + w_z * loss_z)

    def fits(c):
        right = numbers([c[name] for name in names]) @ table
        return bool(torch.allclose(right, wanted, rtol=0, atol=1e-9))

    why = None
    if not fits(answer):
        why = "The slopes of the two sides differ at (theta_0, eta_0)."
        left = [answer["left_by_images"], answer["left_by_codes"]]
        if left == [0, 0]:
            why = "Without c4 and c5 each judge would see the whole pair: what does it not see?"
        elif fits({**answer, "left_by_images": -left[0], "left_by_codes": -left[1]}):
            why = "c4 and c5 have the wrong sign: a judge cannot brake what it does not see."
        elif fits({**answer, "left_by_images": left[1], "left_by_codes": left[0]}):
            why = "c4 and c5 look exchanged: I(z;y|x) is left over by the judge of *images*."
        elif fits({**answer, "kl_images": answer["kl_codes"], "kl_codes": answer["kl_images"]}):
            why = "c1 and c2 look exchanged."
        elif fits({**answer, "jsd_pairs": -answer["jsd_pairs"]}):
            why = "The JSD has the wrong sign: it is a brake, as in every step of this kind."
        elif answer["jsd_pairs"] == -1:
            why = "c3 is that of one judge with weight one: here two judges bring a JSD each."
        elif [answer["kl_images"], answer["kl_codes"]] == [1, 1]:
            why = "The weights are missing: a loss that counts w times has w times the gradient."
    assert why is None, why
