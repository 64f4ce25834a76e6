# Generated from exercises/06_domain_adaptation/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q4"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q4(labelled_domains):
    import torch

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    def near(left, right):
        return left.shape == right.shape and torch.allclose(left, right, rtol=0, atol=1e-6)

    p_T, p_S = numbers([0.25, 0.75]), numbers([0.6, 0.4])
    a = numbers([0.5, -1.0, 2.0])
    log_q = numbers([[0.7, 0.4, 0.1], [0.3, 0.6, 0.9]]).log()
    p_0 = numbers([0.5, 0.3, 0.2])
    given = (0.7, 0.2, p_T, p_S, a, log_q, p_0, 0.5)

    answer = labelled_domains(*given) if callable(labelled_domains) else None
    usable = isinstance(answer, (tuple, list)) and len(answer) == 2
    usable = usable and all(isinstance(part, torch.Tensor) for part in answer)
    assert usable, "`labelled_domains` does not return two tensors yet: pi and the posteriors."
    pi, q = answer
    by_hand = numbers([0.24, 0.015, 0.045, 0.42, 0.28])
    table = numbers(
        [
            [0.53469973, 0.2108796, 0.25442067],
            [0.77319231, 0.17425052, 0.05255716],
            [0.31092238, 0.24524863, 0.44382899],
            [0.66259982, 0.31612492, 0.02127526],
            [0.29903177, 0.49933591, 0.20163232],
        ]
    )
    why = None
    if pi.shape != (5,) or q.shape != (5, 3):
        why = "Two classes make five domains: pi should have shape (5,) and the table (5, 3)."
    elif not near(pi, by_hand):
        why = "pi is not the share of the images that belongs to each domain."
        if not near(pi.sum(), numbers(1.0)):
            why = "Every image belongs to exactly one domain, so pi should sum to one."
        elif near(pi[3:], by_hand[3:]) and near(pi[0], numbers(0.06)):
            why = "rho is the share of the target's images that *have* a label."
        elif near(pi[0], numbers(0.56)):
            why = "pi_1 is the probability of the source, and your target has it."
        elif near(pi[3:], 0.7 * p_T):
            why = "The class frequencies of the two domains look exchanged."
    elif not near(q, table):
        why = "pi is right and the posteriors are not."
        ones = torch.ones_like(pi)
        if not near(q.sum(-1), ones):
            why = "Each row is a law of features, one for each domain, and should sum to one."
            if near(q.exp().sum(-1), ones):
                why = "These look like logarithms of the posteriors: return probabilities."
        elif near(q[0], numbers([0.48551173, 0.40536402, 0.10912426])):
            why = "The target is drawn to features that look like target: is the verdict reversed?"
        elif near(q[0], numbers([0.35126371, 0.2308908, 0.41784549])):
            why = "The prior is missing: a posterior is likelihood times p_0."
        elif near(q[0], numbers([0.54787058, 0.14202864, 0.31010078])):
            why = "The exponent lam is missing on the verdict of the discriminator."
        elif near(q[1], q[0]):
            why = "An image with a label has two scores: the classifier's counts as well."
        elif near(q[0], table[0]) and near(q[3], numbers([0.58271905, 0.36777793, 0.04950303])):
            why = "lam weighs the adversary: the classifier's score has no exponent."
        elif near(q[:1], table[:1]) and near(q[1:3], table[3:]):
            why = "The verdicts of target and source look exchanged in the rows with labels."
    assert why is None, why
    far = labelled_domains(0.7, 0.2, p_T, p_S, 900 * a, log_q, p_0, 0.5)[1]
    if not bool(torch.isfinite(far).all()):
        why = "With logits of several hundred the table is not finite: D underflows, use logs."
    assert why is None, why
