# Generated from exercises/08_codes/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q7"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q7(coefficients):
    from unigen_edu.exact.codes import CodeWorld
    from unigen_edu.exact.tables import entropy, expectation, kl_p_q, mutual_information, normalise

    try:
        A, B, C = (float(number) for number in coefficients(0.5, 0.3))
    except (TypeError, ValueError):
        A = None
    assert A is not None, "`coefficients` still has dots in it, or does not return three numbers."
    seed_world = CodeWorld.random(8, n_x=4, n_z=3, p_y=(0.3, 0.7))
    p_c = seed_world.p_z_given_y[0]
    world = CodeWorld(
        seed_world.p_data,
        seed_world.theta0,
        seed_world.phi0,
        p_c.expand(2, 3),
        seed_world.recogniser,
        0.7,
        seed_world.p_y,
    )
    table = world.scores.reshape(2, 3, 4) * world.p_z_given_xy() ** 0.5 * world.p_0
    target, Z = normalise(table), table.sum(-1)

    def gap(A, B, C, theta):
        information = mutual_information(world.p_xz_given_y(theta)[0])
        right = expectation(world.w, kl_p_q(world.p_x_given_zy(theta), target))
        right = right - world.jsd_y(theta) - world.prior_shift(theta)
        right = right - expectation(world.w, Z.log()) + A * information + C * entropy(p_c)
        return float(right + B * world.code_posterior_shift(theta) - world.loss(theta))

    places = [world.theta0, *(world.other_theta(i) for i in range(4))]

    def spread(A, B, C):
        gaps = [gap(A, B, C, theta) for theta in places]
        return max(gaps) - min(gaps)

    why = None
    if spread(A, B, C) > 1e-9:
        why = "The gap between the sides changes with theta for s = 1/2 and w = 0.3."
        if spread(A * 0.3, B, C) < 1e-9:
            why = "A lacks a factor: only a share w of what is drawn has a code that made it."
        elif spread(A * 0.3 / 0.7, B, C) < 1e-9 or spread(A * 0.3 / 0.5, B, C) < 1e-9:
            why = "A carries another weight than the domain whose images have a code."
        elif spread(-A, B, C) < 1e-9:
            why = "A has the wrong sign: at s = 0 it is the chapter's lemma that must come out."
        elif spread(A, -B, C) < 1e-9 or spread(A, B - 0.5, C) < 1e-9:
            why = "B is wrong, which shows away from theta_0 only: there that KL is not zero."
        elif abs(A + 0.3) < 1e-9:
            why = "A is the chapter's and does not know s: at s = 1 nothing is to be subtracted."
    elif abs(gap(A, B, C, places[0])) > 1e-9:
        why = "The sides differ by the same number at every theta: look at the constants."
    assert why is None, why
