# Generated from exercises/11_wake_sleep_links/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q6"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q6(reading):
    shown = {'K': [0.354, 0.221, 0.734, 0.444],
 'L': [0.563, 0.408, 0.389, 0.266],
 'M': [0.648, 0.627, 0.339, 0.317],
 'N': [0.329, 0.246, 0.689, 0.493]}
    machines = ["VAE", "reweighted", "bound on dreams", "sleep"]
    answer, numbers, why = reading if isinstance(reading, dict) else {}, {}, None
    for name in machines:
        assert answer.get(name) in list(shown), f'"{name}" needs one of the letters K, L, M, N.'
    for name in ("pictures", "direction"):
        try:
            numbers[name] = float(answer[name])
        except (KeyError, TypeError, ValueError):
            raise AssertionError(f'"{name}" is not a number yet.') from None

    def near(left, right):
        return abs(left - right) < 1.6e-3

    if len({answer[name] for name in machines}) < 4:
        why = "Two machines have the same letter in your answer."
    for i, name in enumerate(machines):
        column = [row[i] for row in shown.values()]
        if why is None and shown[answer[name]][i] == max(column):
            why = f"Your {name} is the worst of the four at what it was trained for."
    v, d, s = (shown[answer[name]] for name in ("VAE", "bound on dreams", "sleep"))
    if why is None and numbers["pictures"] > 0:
        why = "On its own objective the VAE is the best of its kind, so pictures is no gain."
    elif why is None and near(numbers["pictures"], v[2] - d[2]):
        why = "pictures was read off the dreams, and the bound is that of the data."
    elif why is None and any(near(abs(numbers["direction"]), abs(d[i] - s[i])) for i in (1, 2, 3)):
        why = "direction was read off a column that does not tell the bound on the data."
    elif why is None and near(numbers["direction"], v[0] - s[0]):
        why = "direction is the change of both together: start from bound on dreams."
    assert why is None, why
