# Generated from exercises/05_gan/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q4"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q4(step_matrix):
    import torch

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    why = None
    for alternating in (False, True):
        answer = step_matrix(0.4, 0.2, 0.6, alternating) if callable(step_matrix) else None
        usable = isinstance(answer, (list, tuple)) and len(answer) == 2
        usable = usable or (isinstance(answer, torch.Tensor) and answer.shape == (2, 2))
        assert usable, "`step_matrix` does not return a matrix with two rows and two columns yet."
        rows = [torch.as_tensor(row, dtype=torch.float64) for row in answer]
        M = torch.stack(rows) if rows[0].shape == rows[1].shape else rows[0]
        assert M.shape == (2, 2), "The matrix should have two rows and two columns."

        def like(values, M=M):
            return torch.allclose(M, numbers(values), rtol=0, atol=1e-9)

        if why is not None:
            continue
        if not alternating and not like([[1, 0.1], [-0.3, 0.88]]):
            why = "The matrix for the old position is not the one of this game."
            if like([[1, -0.2], [0.6, 1]]) or like([[1, -0.2], [0.6, 0.76]]):
                why = "This is the chapter's bilinear game: expand V of this GAN itself."
            elif like([[1, 0.1], [-0.3, 1]]):
                why = "The spread is missing: how does V bend in phi when the data are not a point?"
            elif like([[1, 0.1], [-0.3, 0.94]]):
                why = "Only one of the two expectations in V bends in your expansion."
            elif like([[1, 0.2], [-0.6, 0.76]]):
                why = "All your entries are twice too strong: D is near one half, not near 1."
            elif like([[1, -0.1], [0.3, 1.12]]):
                why = "Both players move the wrong way: D ascends V, the generator descends."
            elif like([[1, 0.3], [-0.1, 0.96]]):
                why = "The step sizes are exchanged: h_g belongs to theta and h_d to phi."
            elif like([[0.88, -0.3], [0.1, 1]]):
                why = "Rows and columns stand for (phi, theta) here: theta comes first."
        elif alternating and not like([[0.97, 0.088], [-0.3, 0.88]]):
            why = "The first matrix is right and the one for taking turns is not."
            if like([[1, 0.1], [-0.3, 0.88]]):
                why = "Taking turns changes nothing in your answer: the generator sees the new phi."
            elif like([[1, 0.1], [-0.3, 0.85]]):
                why = "Here the generator moves first: the discriminator should."
            elif like([[0.97, 0.1], [-0.3, 0.88]]):
                why = "The new phi has two parts, one from theta and one from phi; the last is old."
    assert why is None, why
