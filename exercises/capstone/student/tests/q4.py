# Generated from exercises/capstone/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q4"
points = 2
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q4(declaration):
    from unigen_edu.declarations import Factor, Phase, Variable

    answer = declaration if isinstance(declaration, dict) else {}
    kinds = ("variables", Variable, 5), ("factors", Factor, 4), ("phases", Phase, 2)
    for name, kind, count in kinds:
        parts = answer.get(name)
        usable = isinstance(parts, (tuple, list)) and len(parts) == count
        usable = usable and all(isinstance(part, kind) for part in parts)
        assert usable, f'"{name}" is not a tuple of {count} of its kind yet.'
    known = {v.name: v.observed for v in answer["variables"]}
    assert set(known) == {"x", "c", "z", "e", "y"}, "The five variables have other names."
    factors, phases = answer["factors"], answer["phases"]
    by_network = {f.network: f for f in factors}
    encoder, decoder, judge = 'encoder', 'renderer', 'examiner'
    complete = set(by_network) == {None, encoder, decoder, judge}
    assert complete, "The four factors belong to three networks and to a law that has none."
    moves = [set(phase.moves) for phase in phases]
    parents = [set(f.parents) for f in factors]
    why = None
    if known["z"] or known["e"]:
        why = "A code or a noise is declared as observed, but nobody gives it."
    elif "e" in by_network[judge].parents:
        why = "The judge sees the noise, and given the noise a code has no density to learn."
    elif by_network[judge].child != "y":
        why = "The judge's factor is a law of the label y."
    elif any("y" in of for of in parents):
        why = "The label y is a parent here, but the question gives it no arrows to others."
    elif "e" not in by_network[encoder].parents:
        why = "The encoder has no noise: then its codes would be a function of the image."
    elif by_network[encoder].role == "generative":
        why = "The encoder's role is that of a generator, but it infers the code of an image."
    elif by_network[None].role != "generative":
        why = "The prior is a part of the model of the data, and your role says otherwise."
    elif by_network[judge].role != "adversarial":
        why = "The judge's role is to tell two laws apart."
    elif judge in moves[1]:
        why = "The judge moves in the second phase, where it has to stand still."
    elif moves[0] != {judge}:
        why = "The first phase is the judge's alone: it compares codes that are constants."
    elif moves[1] != {encoder, decoder}:
        why = "The second phase moves both networks that the ELBO depends on."
    elif f"first: {decoder}" in str(phases[1].direction):
        why = "The slots are exchanged: the encoder's law is the one that codes are drawn from."
    assert why is None, why
