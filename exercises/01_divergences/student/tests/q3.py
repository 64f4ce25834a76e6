# Generated from exercises/01_divergences/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q3"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q3(reading):
    import torch

    drawn = {'A': [29.882, 27.665, 25.576, 23.614, 21.78, 20.073, 18.494, 17.043, 15.719, 14.522,
       13.453, 12.512, 11.698, 11.012, 10.453, 10.022, 9.719, 9.543, 9.494, 9.573, 9.78,
       10.114, 10.576, 11.165, 11.882, 12.726, 13.698, 14.798, 16.025, 17.379, 18.861,
       20.471, 22.208, 24.073, 26.066, 28.185, 30.433, 32.808, 35.31, 37.941, 40.698],
 'B': [4.56, 3.603, 2.774, 2.072, 1.498, 1.052, 0.733, 0.542, 0.478, 0.542, 0.733, 1.052,
       1.497, 2.066, 2.755, 3.55, 4.426, 5.336, 6.211, 6.96, 7.489, 7.722, 7.623, 7.213,
       6.557, 5.747, 4.876, 4.023, 3.238, 2.553, 1.985, 1.541, 1.223, 1.031, 0.968, 1.031,
       1.223, 1.542, 1.988, 2.562, 3.264],
 'C': [0.881, 0.835, 0.779, 0.712, 0.635, 0.549, 0.462, 0.392, 0.38, 0.392, 0.462, 0.549,
       0.635, 0.712, 0.779, 0.835, 0.88, 0.914, 0.939, 0.957, 0.967, 0.972, 0.971, 0.964,
       0.952, 0.934, 0.908, 0.875, 0.834, 0.786, 0.734, 0.68, 0.637, 0.62, 0.62, 0.62,
       0.637, 0.68, 0.734, 0.786, 0.834],
 'D': [0.546, 0.496, 0.439, 0.377, 0.312, 0.251, 0.2, 0.166, 0.154, 0.166, 0.2, 0.251,
       0.312, 0.376, 0.439, 0.496, 0.544, 0.584, 0.614, 0.635, 0.649, 0.655, 0.653, 0.645,
       0.63, 0.608, 0.578, 0.541, 0.498, 0.451, 0.403, 0.358, 0.32, 0.296, 0.287, 0.296,
       0.32, 0.358, 0.403, 0.451, 0.499]}
    curves = {letter: torch.tensor(drawn[letter], dtype=torch.float64) for letter in "ABCD"}
    names = ("KL(p||q)", "KL(q||p)", "JSD", "TV")
    answer = reading if isinstance(reading, dict) else {}
    given = {letter: answer.get(letter) for letter in "ABCD"}
    shown = ", ".join(names)
    assert all(name in names for name in given.values()), f"Each letter needs one of: {shown}."
    assert len(set(given.values())) == 4, "Each of the four names belongs to one letter."
    numbers = [answer.get("left"), answer.get("sd")]
    usable = all(isinstance(number, (int, float)) for number in numbers)
    assert usable, '"left" and "sd" each need a number.'
    left, sd = (float(number) for number in numbers)
    curve = {name: curves[letter] for letter, name in given.items()}

    def valleys(values):
        inside = values[1:-1]
        return int(((inside < values[:-2]) & (inside <= values[2:])).sum())

    why = None
    if float(curve["TV"].max()) > 1.001:
        why = "The curve that you call TV exceeds 1, but no two events differ by more than that."
    elif float(curve["JSD"].max()) > 1.001:
        why = "The curve that you call JSD is far above log 2, but one draw tells at most one bit."
    elif valleys(curve["KL(p||q)"]) > 1:
        why = (
            "The curve that you call KL(p||q) is content with one bump, "
            "but there the data of the other bump are nearly impossible."
        )
    elif abs(left - 0.478) < 0.01:
        why = "This is the depth of a valley in nats: turn it into a probability."
    elif not 0 < left < 1:
        why = "The mass of a bump is a probability, and yours is not between 0 and 1."
    elif abs(left - 0.38) < 0.01:
        why = "This looks like the mass of the right bump: which valley is deeper, and why?"
    elif abs(left - 0.5) < 0.01:
        why = "The bumps are not equally heavy: compare the depths of two valleys of one curve."
    elif abs(sd - 0.7) < 0.01:
        why = "This is the width that the model has in the pictures, but here its width is free."
    elif abs(sd - 10.444) < 0.05:
        why = "This looks like a variance, and the question asks for a standard deviation."
    elif abs(sd - 3.155) < 0.01:
        why = "This is the spread of the two centres alone, but each bump has a width of its own."
    assert why is None, why
