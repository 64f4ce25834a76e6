# Generated from exercises/01_divergences/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q5"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q5(means_of_lines):
    names = ("KL(p||q)", "KL(q||p)", "-KL(q||p)", "KL(p||q) / K", "H(p) + KL(p||q)")
    names = (*names, "H(q) - H(p)", "KL(p||q) + bias")
    answer = means_of_lines if isinstance(means_of_lines, dict) else {}
    for letter in "ABCDEF":
        assert answer.get(letter) in names, f"Line {letter} needs one of the seven names."
    assert len({answer[letter] for letter in "ABCDEF"}) > 1, "Not all six lines do the same."
    traps = {'A': ['KL(q||p)', 'Line A: ask whose draws are averaged, and mind both signs.'],
 'B': ['KL(p||q)',
       'Line B: read again which slot F.kl_div takes first, and how it averages.'],
 'C': ['KL(p||q)',
       'Line C weighs its draws with a ratio: write the mean as a sum over outcomes '
       'first.'],
 'D': ['KL(p||q)',
       'Line D never compares log p with log q on draws of p: what else is left in its '
       'mean?'],
 'E': ['KL(p||q) + bias',
       'Line E has terms beside the log ratio: find the mean of each under the law of '
       'the draws.'],
 'F': ['KL(p||q)', 'Line F looks right: work out its mean by hand for n = 1 and K = 2.']}
    why = None
    for letter, (tempting, sentence) in traps.items():
        if why is None and answer[letter] == tempting:
            why = sentence
    assert why is None, why
