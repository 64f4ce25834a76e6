# Generated from exercises/06_domain_adaptation/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q5"
points = 4
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q5(diagnosis):
    import math

    teams = ("Aino", "Bela", "Cleo", "Dara", "Emil")
    words = ("weak judge", "not matched", "silent", "errors certain", "aligned", "open")
    answer = diagnosis if isinstance(diagnosis, dict) else {}
    for team in teams:
        assert answer.get(team) in words, f'"{team}" needs one of the six verdicts of the list.'
    for line in ("least", "most"):
        given = answer.get(line)
        usable = isinstance(given, (int, float)) and math.isfinite(given)
        assert usable, f'"{line}" needs a number.'
    wrong = {'frequencies': 0.3,
 'frequencies less error': 0.25,
 'factor': 0.3304,
 'alone': 0.3966,
 'plain': 0.1286,
 'game': 0.4151}
    least, most = answer["least"], answer["most"]
    found = [answer[team] for team in teams]
    why = None
    if "aligned" in found:
        team = teams[found.index("aligned")]
        why = f"{team}: no report without labels of the target proves that it is read well."
    elif found.count("silent") > 1:
        why = "More than one team is called silent, and only one knows nothing about the class."
    elif len(set(found)) < 4:
        why = "A verdict occurs too often: a discriminator fails for more than one reason here."
    elif not 0 <= least <= 1 or not 0 <= most <= 1:
        why = '"least" and "most" are shares of images here, between 0 and 1.'
    elif abs(least) < 1e-3:
        why = '"least" is zero, and then nothing would be certain: count the answers.'
    elif abs(least - wrong["frequencies"]) < 1e-3:
        why = '"least" compares the two hospitals: the team knows its answers in the target.'
    elif abs(least - wrong["frequencies less error"]) < 1e-3:
        why = '"least" holds and can be improved: the team knows its answers in the target.'
    elif abs(most - wrong["factor"]) < 1e-3:
        why = '"most" has lost a factor on the way from the JSD to the total variation.'
    elif abs(most - wrong["alone"]) < 1e-3:
        why = '"most" bounds how the domains differ, and the source is not read perfectly either.'
    elif abs(most - wrong["plain"]) < 1e-3:
        why = '"most" takes the JSD for the total variation: these are different distances.'
    elif abs(most - wrong["game"]) < 1e-3:
        why = '"most" trusts the discriminator of the game: is its loss the smallest possible?'
    assert why is None, why
