# Generated from exercises/10_lemma2/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q2"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q2(coefficients):
    from unigen_edu.exact.tables import entropy, kl_p_q, mutual_information
    from unigen_edu.exact.vae import VAEWorld

    names = ["codes", "information", "images", "entropy", "likelihood"]
    beta, world = 4.0, VAEWorld.random(1, n_x=4, n_z=3)
    answer = coefficients(beta) if callable(coefficients) else None
    usable = isinstance(answer, dict) and all(
        answer.get(name) is not None and answer.get(name) is not ... for name in names
    )
    assert usable, "`coefficients` still has dots in it: give each of the five names a number."
    answer = {name: float(answer[name]) for name in names}
    kept, last = {}, []
    for trial in range(5):
        theta, eta = world.other_theta(trial), world.other_eta(trial if trial < 3 else 2)
        q, joint, decoder = world.q_z_given_x(eta), world.q_xz(eta), world.p_x_given_z(theta)
        q_z = joint.sum(0)
        kl = kl_p_q(q, world.p_z_given_y[0].expand_as(q))
        loss = world.vae_loss(theta, eta) + (beta - 1) * (world.p_data @ kl)
        values = {
            "codes": kl_p_q(q_z, world.p_z_given_y[0]),
            "information": mutual_information(joint),
            "images": q_z @ kl_p_q(joint.T / q_z[:, None], decoder),
            "entropy": entropy(world.p_data),
            "likelihood": world.kl_data_g(theta),
        }
        for name in names:
            kept.setdefault(name, []).append(float(values[name]))
        last.append(float(loss))

    def gaps(c):
        return [
            sum(c[name] * kept[name][i] for name in names) - loss for i, loss in enumerate(last)
        ]

    def constant(c, start=0):
        found = gaps(c)[start:]
        return max(found) - min(found) < 1e-9

    why = None
    if max(abs(gap) for gap in gaps(answer)) > 1e-9:
        why = "With beta = 4 the sides differ, and not by a constant: redo the split of the code."
        if constant(answer):
            why = "The sides differ by the same number everywhere: the constant term is wrong."
        elif abs(answer["likelihood"]) > 1e-9:
            why = "The fit of the images is in E KL(q(x|z) || p(x|z)) already, and counts once."
        elif abs(answer["codes"] - 1) < 1e-9:
            why = "The whole price of the code carries beta, and so does each part of it."
        elif abs(answer["images"] - beta) < 1e-9:
            why = "The reconstruction has no beta in front of it, and so no part of it has."
        elif abs(answer["information"]) < 1e-9:
            why = "I_q is in both parts of the loss, and it cancels at beta = 1 only."
        elif abs(answer["information"] - beta) < 1e-9:
            why = "The reconstruction contains I_q too: what is H(x|z) in terms of H(x)?"
        elif constant({**answer, "information": -answer["information"]}):
            why = "I_q has the wrong sign: who pays for information, and who is glad of it?"
    assert why is None, why
