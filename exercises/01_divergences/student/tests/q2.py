# Generated from exercises/01_divergences/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q2"
points = 4
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q2(claims):
    import torch

    def kl(p, q):
        return float((p * (p / q).log()).sum())

    def tv(p, q):
        return float((p - q).abs().sum() / 2)

    def room(name, p, q):
        """Right side minus left side of a claim."""
        p_x, p_z, q_x, q_z = p.sum(1), p.sum(0), q.sum(1), q.sum(0)
        rows = [(p[x] / p_x[x], q[x] / q_x[x]) for x in range(2)]
        inner = torch.tensor([kl(*row) for row in rows], dtype=torch.float64)
        inner_tv = torch.tensor([tv(*row) for row in rows], dtype=torch.float64)
        cross = -float(p_x @ q_x.log())

        def own(joint):
            return kl(joint, torch.outer(joint.sum(1), joint.sum(0)))

        sides = {
            "conditional": lambda: (float(p_x @ inner), kl(p, q)),
            "product": lambda: (kl(p_x, q_x) + kl(p_z, q_z), kl(p, torch.outer(q_x, q_z))),
            "own": lambda: (own(p), kl(p, torch.outer(q_x, q_z))),
            "squared": lambda: (2 * tv(p_x, q_x) ** 2, kl(q, p)),
            "steps": lambda: (tv(p, q), tv(p_x, q_x) + float(p_x @ inner_tv)),
            "surprise": lambda: (-float(p_x @ p_x.log()), cross),
            "halfway": lambda: (kl(p_x, (p_x + q_x) / 2), kl(p_x, q_x) / 2),
            "forget": lambda: (kl(p_z, q_z), float(p_x @ inner)),
            "sum": lambda: (kl(p_x, q_x) + kl(p_z, q_z), kl(p, q)),
            "mean": lambda: (float(q_x @ inner), kl(p, q)),
            "field": lambda: (kl(torch.outer(p_x, p_z), p), kl(torch.outer(q_x, q_z), p)),
            "belief": lambda: (-float(q_x @ q_x.log()), cross),
            "apart": lambda: (tv(p, q), tv(p_x, q_x) + tv(p_z, q_z)),
            "average": lambda: (own((p + q) / 2), own(p) / 2 + own(q) / 2),
        }
        left, right = sides[name]()
        return right - left

    def two_tables(given):
        try:
            return [torch.as_tensor(half, dtype=torch.float64) for half in given]
        except (TypeError, ValueError, RuntimeError):
            return []

    names = {'a': 'belief', 'b': 'apart', 'c': 'steps', 'd': 'halfway', 'e': 'field'}
    answer = claims if isinstance(claims, dict) else {}
    why = None
    for letter, name in names.items():
        given = answer.get(letter)
        if isinstance(given, str) and given == "always":
            continue
        pair = two_tables(given) if isinstance(given, (tuple, list, torch.Tensor)) else []
        if len(pair) != 2 or any(half.shape != (2, 2) for half in pair):
            why = f'Claim {letter} needs the word "always" or a pair of tables of two rows each.'
        elif any(bool((half <= 0).any()) for half in pair):
            why = f"A table for claim {letter} has an entry that is not positive."
        elif any(abs(float(half.sum()) - 1) > 1e-9 for half in pair):
            why = f"A table for claim {letter} does not sum to one over its four entries."
        elif torch.equal(*pair):
            why = f"The two tables for claim {letter} are equal: let p and q differ."
        elif room(name, *pair) >= -1e-3:
            why = f"Your tables obey claim {letter}, so they are no counterexample."
            if room(name, *pair) < 0:
                why = f"Your tables break claim {letter} by less than 0.001: find a clearer case."
            elif room(name, *pair[::-1]) < -1e-3:
                why = f"Your tables obey claim {letter} and break it with p and q exchanged."
        if why is not None:
            break
    assert why is None, why
