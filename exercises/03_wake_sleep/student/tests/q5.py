# Generated from exercises/03_wake_sleep/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q5"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q5(histories):
    names = (
        "correct",
        "own answers",
        "another dream",
        "day on dreams",
        "both by day",
        "both by night",
    )
    start = {'p(x)': [0.13, 0.5, 0.37], 'p(1|x)': [0.52, 0.96, 0.46], 'q(1|x)': [0.61, 0.35, 0.4]}
    ends = {'Ada': {'p(x)': [0.13, 0.5, 0.37],
         'p(1|x)': [0.52, 0.96, 0.46],
         'q(1|x)': [0.52, 0.96, 0.46]},
 'Blaise': {'p(x)': [0.27, 0.23, 0.5],
            'p(1|x)': [0.47, 0.47, 0.47],
            'q(1|x)': [0.47, 0.47, 0.47]},
 'Chen': {'p(x)': [0.0, 1.0, 0.0],
          'p(1|x)': [0.94, 1.0, 0.28],
          'q(1|x)': [0.79, 1.0, 0.29]},
 'Dora': {'p(x)': [0.27, 0.23, 0.5],
          'p(1|x)': [0.0, 0.0, 0.0],
          'q(1|x)': [0.0, 0.0, 0.0]},
 'Emre': {'p(x)': [0.27, 0.23, 0.5],
          'p(1|x)': [0.44, 0.63, 0.34],
          'q(1|x)': [0.44, 0.63, 0.34]}}
    answer = histories if isinstance(histories, dict) else {}
    for who in ends:
        known = isinstance(answer.get(who), str) and answer[who] in names
        assert known, f"{who} needs one of the six names."

    def moved(who, row):
        return max(abs(a - b) for a, b in zip(ends[who][row], start[row], strict=True)) > 0.03

    why = None
    for who, said in answer.items():
        if why is None and who in ends:
            if said == "own answers" and moved(who, "q(1|x)"):
                why = f"{who}'s recognition moved, and one's own answers teach nothing on average."
            elif said == "day on dreams" and moved(who, "p(x)"):
                why = f"{who}'s dreams have changed, and days on dreams change nothing on average."
            elif said == "both by day" and any(0.1 < v < 0.9 for v in ends[who]["q(1|x)"]):
                why = f"{who}'s recognition has doubts left: would the wake loss leave any?"
    if why is None and len(set(answer.values())) < len(ends):
        why = "Two machines have the same history in your answer: at most one has each."
    assert why is None, why
