# Generated from exercises/13_f_divergences/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q6"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q6(examine):
    import torch

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    # Four images, three codes.  Image 0 is in order; each of the others has a culprit.
    counts = numbers([2500.0, 2500.0, 2500.0, 2500.0])
    log_d = numbers([0.24, 0.26, 0.005, 0.25]).log()
    p_z = numbers([0.4, 0.3, 0.3])
    p_x_given_z = numbers(
        [[0.895, 0.003, 0.1, 0.002], [0.002, 0.004, 0.99, 0.004], [0.003, 0.002, 0.005, 0.99]]
    )
    q_z_given_x = numbers(
        [[0.995, 0.002, 0.003], [0.45, 0.3, 0.25], [0.11, 0.88, 0.01], [0.01, 0.98, 0.01]]
    )
    truth = ["fine", "sampler", "density", "posterior"]

    answer = examine(counts, log_d, p_z, p_x_given_z, q_z_given_x) if callable(examine) else None
    usable = isinstance(answer, (list, tuple)) and len(answer) == 4
    assert usable, "`examine` does not return one word for each image yet."
    words = ("sampler", "posterior", "density", "fine")
    assert all(word in words for word in answer), "Use the four words of the question, spelled so."
    fine, dropped, mistaken, misplaced = answer
    why = None
    if len(set(answer)) == 1:
        why = "All images get the same word, although their numbers differ."
    elif misplaced == "sampler":
        why = (
            "Image 3 is made often enough and only its ELBO is low: the bound is not the density "
            "that it bounds."
        )
    elif dropped in ("fine", "posterior"):
        why = "Image 1 is a quarter of the data, and hardly any code makes it."
    elif dropped == "density":
        why = "For image 1 d agrees with the counts: log d says nothing about the generator."
    elif mistaken == "sampler":
        why = (
            "Image 2 is made as often as it is counted: d stands for the data, and d can be wrong."
        )
    elif fine != "fine":
        why = "Image 0 has no culprit: its three numbers agree to within a few per cent."
    elif misplaced != "posterior":
        why = "Image 3 is looked for at a code that hardly makes it: compare q with Bayes' rule."
    elif list(answer) != truth:
        why = "Image 2 is a quarter of the data, and d takes it for a rare one."
    assert why is None, why
