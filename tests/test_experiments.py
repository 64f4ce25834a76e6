"""`unigen reproduce`: what is run, what is recorded, and what the tables make of it."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
import scipy.stats
import torch

from unigen_edu import classifier, cli, data, experiments, models, training
from unigen_edu.errors import NotFinite, UnigenError
from unigen_edu.experiments import Arm, Comparison, Scale
from unigen_edu.models.fgm import Missed

TINY = Scale("tiny", "mnist-mini", steps=4, batch_size=16, samples=100, network="mlp")
PAIR = Comparison(
    "gan-iwgan",
    "A",
    "a pair",
    (Arm("gan", {"latent": 2}), Arm("iwgan", {"latent": 2, "k": 2}, "iwgan, k = 2")),
    "modes_covered",
    higher_is_better=True,
    data="ring",
)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run `PAIR` into a folder of its own; returns (failed, lines that were said)."""
    # Without processes beside this one, whose start takes longer than these runs.
    monkeypatch.setattr("os.cpu_count", lambda: 1)

    def run(scale=TINY, seeds=(0, 1), out="out", work="work", comparison=PAIR):
        said: list[str] = []
        failed = experiments.reproduce(
            [comparison], scale, seeds=seeds, device="cpu", out=tmp_path / out,
            work=tmp_path / work, progress=False, say=said.append,
        )  # fmt: skip
        return failed, said

    return run


def records(tmp_path, out="out"):
    paths = sorted((tmp_path / out).rglob("seed*.json"))
    return {str(p.relative_to(tmp_path / out)): json.loads(p.read_text()) for p in paths}


def test_every_run_leaves_a_record_and_is_not_done_again(run, tmp_path):
    failed, said = run()
    assert failed == []
    assert [line.split(",")[0] for line in said] == ["gan-iwgan: gan", "gan-iwgan: iwgan"]
    found = records(tmp_path)
    assert set(found) == {
        f"tiny/gan-iwgan/{arm}/seed{seed}.json" for arm in ("gan", "iwgan-k-2") for seed in (0, 1)
    }
    one = found["tiny/gan-iwgan/gan/seed1.json"]
    assert one["status"] == "done"
    assert one["seed"] == 1
    assert one["steps"] == 4
    assert one["options"] == {"latent": 2}
    assert one["lr"] == {"discriminator": 5e-4, "generator": 5e-4}
    assert one["metrics"]["samples"] == 100
    assert one["curve"]["step"][-1] == 4
    assert one["device"] == "cpu"
    assert one["commit"] == experiments._commit()
    assert not list((tmp_path / "work").rglob("*.safetensors"))
    assert run() == ([], [])


def test_the_records_are_those_of_runs_by_themselves(run, tmp_path):
    run(seeds=(0, 1))
    run(seeds=(1,), out="alone", work="other")
    together, alone = records(tmp_path), records(tmp_path, "alone")
    for name, record in alone.items():
        assert record["parameters_sha256"] == together[name]["parameters_sha256"]
        assert record["metrics"] == together[name]["metrics"]


def test_a_run_that_was_stopped_ends_with_the_same_numbers(run, tmp_path, monkeypatch):
    run(out="whole", work="other")
    write = experiments._write

    def full_disk(path, record):
        raise UnigenError("The record cannot be written (No space left on device).")

    half = Scale("tiny", "mnist-mini", steps=2, batch_size=16, samples=100, network="mlp")
    monkeypatch.setattr(experiments, "_write", full_disk)
    with pytest.raises(UnigenError, match="No space left"):
        run(scale=half)
    assert list((tmp_path / "work").rglob("*.safetensors"))
    monkeypatch.setattr(experiments, "_write", write)
    run()
    whole, continued = records(tmp_path, "whole"), records(tmp_path)
    assert set(whole) == set(continued)
    for name, record in whole.items():
        assert record["parameters_sha256"] == continued[name]["parameters_sha256"]
        assert record["metrics"] == continued[name]["metrics"]


def test_records_name_the_classifier_and_are_of_one_only(run, tmp_path, monkeypatch):
    digits = dataclasses.replace(PAIR, metric="inception_score", data="mnist-mini")
    run(seeds=(0,), comparison=digits)
    for record in records(tmp_path).values():
        assert record["scored_by"]["weights_sha256"] == classifier.WEIGHTS_SHA256
    other = classifier.load_classifier(reads="clothes")
    monkeypatch.setattr(experiments, "classifier_of", lambda *given, **how: other)
    with pytest.raises(UnigenError, match="scored by another classifier of mnist-mini"):
        run(seeds=(0, 1), comparison=digits)
    assert len(records(tmp_path)) == 2
    monkeypatch.undo()
    # Records from before the classifier was named are of the one that was shipped then.
    for path in (tmp_path / "out").rglob("seed0.json"):
        record = json.loads(path.read_text())
        del record["scored_by"]
        path.write_text(json.dumps(record))
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    assert run(seeds=(0, 1), comparison=digits)[0] == []
    assert len(records(tmp_path)) == 4
    monkeypatch.setitem(experiments._UNNAMED, "digits", "0" * 64)
    with pytest.raises(UnigenError, match="are of different classifiers, so they make no table"):
        experiments.summarise(digits, TINY, tmp_path / "out")


def test_records_of_different_data_make_no_table(run, tmp_path):
    run(seeds=(0, 1))
    path = next((tmp_path / "out").rglob("gan/seed1.json"))
    record = json.loads(path.read_text())
    record["data"] = record["data"].replace("ring", "ring-unverified")
    path.write_text(json.dumps(record))
    with pytest.raises(UnigenError, match="are of different data, so they make no table"):
        experiments.summarise(PAIR, TINY, tmp_path / "out")


def test_what_lacks_its_data_holds_nothing_up(tmp_path, monkeypatch, capsys):
    load = data.load

    def without_photographs(name, *given, **more):
        if name == "cifar10":
            raise UnigenError("'cifar10' is nowhere.")
        return load(name, *given, **more)

    monkeypatch.setattr("os.cpu_count", lambda: 1)
    monkeypatch.setattr(data, "load", without_photographs)
    monkeypatch.setitem(experiments.SCALES, "laptop", TINY)
    there = dataclasses.replace(PAIR, name="pair")
    missing = dataclasses.replace(PAIR, name="photographs", data="cifar10")
    monkeypatch.setattr(experiments, "COMPARISONS", (missing, there))
    monkeypatch.setattr(experiments, "TABLES", {"A": (missing, there)})
    monkeypatch.chdir(tmp_path)
    arguments = ["reproduce", "A", "--seeds", "1", "--device", "cpu", "--quiet"]
    assert cli.main(arguments) == 2
    shown = capsys.readouterr()
    assert "photographs: left out. 'cifar10' is nowhere." in shown.out
    assert "iwgan, k = 2" in shown.out
    assert shown.out.count("nothing was recorded") == 1
    assert "Left out: photographs. The first, because: 'cifar10' is nowhere." in shown.err
    assert len(records(tmp_path / "results", "runs")) == 2


def test_a_re_encoded_copy_of_the_data_is_taken_on_request_only(run, tmp_path, monkeypatch):
    asked = []
    load = data.load

    def noted(name, *given, verify=True, **more):
        asked.append(verify)
        return load(name, *given, verify=verify, **more)

    monkeypatch.setattr(data, "load", noted)
    arguments = ["reproduce", "pair", "--seeds", "1", "--device", "cpu", "--quiet"]
    monkeypatch.setitem(experiments.SCALES, "laptop", TINY)
    monkeypatch.setattr(experiments, "COMPARISONS", (dataclasses.replace(PAIR, name="pair"),))
    monkeypatch.chdir(tmp_path)
    assert cli.main([*arguments, "--unverified"]) == 0
    assert asked
    assert not any(asked)
    asked.clear()
    assert cli.main([*arguments, "--out", "other"]) == 0
    assert asked
    assert all(asked)


def test_what_can_be_put_right_is_no_result(run, tmp_path, monkeypatch):
    def no_folder(*_, **__):
        raise UnigenError("The folder cannot be written.")

    fit_seeds = experiments.fit_seeds
    monkeypatch.setattr(experiments, "fit_seeds", no_folder)
    with pytest.raises(UnigenError, match="cannot be written"):
        run()
    assert records(tmp_path) == {}
    monkeypatch.setattr(experiments, "fit_seeds", fit_seeds)
    assert run()[0] == []
    assert len(records(tmp_path)) == 4


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"metric": "elbo"}, "of other settings"),
        ({"scale": {"name": "tiny", "steps": 5}}, "of other settings"),
        ({"model": "vae"}, "of other settings"),
        ({"options": {"latent": 3}}, "of other settings"),
        ({"lr": {"discriminator": 5e-4, "generator": 1e-3}}, "of other settings"),
        ({"betas": (0.9, 0.999)}, "of other settings"),
        ({"precision": "bf16"}, "of other settings"),
        ({"steps": 5}, "of other settings"),
        ({"options": None}, "cannot be read"),
        (None, "cannot be read"),
    ],
)
def test_a_record_of_something_else_is_named_before_anything_starts(entries, words, run, tmp_path):
    path = write_record(tmp_path / "out", PAIR.arms[0], 0, **{"status": "done", **(entries or {})})
    if entries is None:
        path.write_text("<<<<<<< half a record")
    before = path.read_bytes()
    with pytest.raises(UnigenError, match=words) as caught:
        run()
    assert str(path) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert [p for p in (tmp_path / "out").rglob("seed*.json")] == [path]
    assert path.read_bytes() == before


def test_a_repetition_does_not_take_the_seeds_of_what_it_repeats():
    (again,) = experiments.find(["vae-aavae-1-again"])
    with pytest.raises(UnigenError, match="ask for at most 10 seeds"):
        experiments.reproduce([again], TINY, seeds=range(11))


def test_a_repetition_takes_seeds_that_nobody_has_looked_at(run, tmp_path):
    run(seeds=(0, 1), comparison=dataclasses.replace(PAIR, name="again", first_seed=10))
    names = {name.rpartition("/")[2] for name in records(tmp_path)}
    assert names == {"seed10.json", "seed11.json"}
    (again,) = experiments.find(["vae-aavae-1-again"])
    (first,) = experiments.find(["vae-aavae-1"])
    base, stood_out, control = again.arms
    assert (base, stood_out.name) == (first.arms[0], "aavae, D five times slower")
    assert stood_out in first.arms
    assert control.lr["discriminator"] < 1e-9
    assert again.first_seed >= 10


def test_an_arm_may_take_more_steps_than_the_others(run, tmp_path):
    base, other = PAIR.arms
    longer = dataclasses.replace(base, effort=2.5, label="longer")
    run(seeds=(0,), comparison=dataclasses.replace(PAIR, arms=(longer, other), effort=2.0))
    steps = {
        record["arm"]: record["steps"]
        for record in (json.loads(p.read_text()) for p in (tmp_path / "out").rglob("seed*.json"))
    }
    assert steps == {"longer": TINY.steps * 5, other.name: TINY.steps * 2}


def test_in_equal_time_the_cheaper_model_takes_more_steps():
    (equal,) = experiments.find(["samples-usps-longer-in-equal-time"])
    (longer,) = experiments.find(["samples-usps-longer"])
    (gan, iwgan), (_, of_longer, _) = equal.arms, longer.arms
    assert (gan.model, gan.effort) == ("gan", 2.25)
    assert iwgan == of_longer
    assert equal.first_seed >= longer.first_seed + 10
    assert "training_seconds" in equal.beside


def test_a_seed_that_fails_leaves_the_others_and_says_why(run, tmp_path, monkeypatch):
    fit_seeds = experiments.fit_seeds

    def one_diverges(name, dataset, *, seeds, **settings):
        if name == "gan" and 1 in seeds:
            raise NotFinite("The loss of seed 1 is not finite at step 3.")
        return fit_seeds(name, dataset, seeds=seeds, **settings)

    monkeypatch.setattr(experiments, "fit_seeds", one_diverges)
    failed, _ = run(seeds=(0, 1, 2))
    assert [path.name for path in failed] == ["seed1.json"]
    lost = json.loads(failed[0].read_text())
    assert (lost["status"], lost["reason"]) == (
        "failed",
        "The loss of seed 1 is not finite at step 3.",
    )
    base, variant = experiments.summarise(PAIR, TINY, tmp_path / "out")
    assert set(base.values) == {0, 2}
    assert base.failed == {1: lost["reason"]}
    assert set(variant.values) == {0, 1, 2}
    assert variant.difference is not None
    assert "failed: 1" in experiments.as_text(PAIR, TINY, tmp_path / "out")


def write_record(folder, arm, seed, **entries):
    path = experiments.record_path(folder, TINY, PAIR, arm, seed)
    declared = {"scale": dataclasses.asdict(TINY), "metric": PAIR.metric, "model": arm.model}
    step_sizes = dict.fromkeys(("discriminator", "generator"), 5e-4)
    declared |= {"steps": 4, "lr": step_sizes, "betas": (0.5, 0.999)}
    experiments._write(path, {**declared, "options": arm.options, "seed": seed, **entries})
    return path


def write_values(folder, arm, values):
    for seed, value in enumerate(values):
        write_record(folder, arm, seed, status="done", metrics={"modes_covered": value})


def test_the_table_has_means_and_paired_differences(tmp_path):
    write_values(tmp_path, PAIR.arms[0], [-100.0, -110.0, -120.0])
    write_values(tmp_path, PAIR.arms[1], [-99.0, -111.0, -117.0])
    base, variant = experiments.summarise(PAIR, TINY, tmp_path)
    assert (base.mean, base.sd, base.difference) == (-110.0, 10.0, None)
    d = variant.difference
    assert d.mean == pytest.approx(1.0)
    assert (d.better, d.worse) == (2, 1)
    # Differences 1, -1, 3: standard deviation 2; the quantile of Student's t is 4.3027.
    assert d.half_width == pytest.approx(4.302653 * 2 / math.sqrt(3), rel=1e-6)


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 9, 10, 29])
@pytest.mark.parametrize("level", [0.5, 0.95, 0.99])
def test_the_quantiles_are_those_of_scipy(level, degrees):
    ours = experiments._student_t(level, degrees)
    assert ours == pytest.approx(scipy.stats.t.ppf(0.5 + level / 2, degrees), rel=1e-10)


def test_the_table_of_a_notebook_says_what_was_run_and_what_was_not(tmp_path):
    assert experiments.as_markdown(PAIR, TINY, tmp_path) == ""
    assert experiments.provenance_of([PAIR], TINY, tmp_path) == "Nothing was recorded."
    write_values(tmp_path, PAIR.arms[0], [1.0, 2.0, 3.0])
    write_values(tmp_path, PAIR.arms[1], [2.0, 2.0, 6.0])
    write_record(tmp_path, PAIR.arms[1], 3, status="failed", reason="It was not finite.")
    assert experiments.as_markdown(PAIR, TINY, tmp_path).splitlines() == [
        "| a pair | modes that any sample reaches | paired difference, 95 % | better, worse |",
        "|---|---|---|---|",
        "| gan | 2.000 ± 1.0 |  |  |",
        # Differences 1, 0, 3: mean 4/3, standard deviation 1.5275, times 4.3027 / sqrt(3).
        "| iwgan, k = 2 | 3.333 ± 2.3 (failed seeds: 3) | +1.33 ± 3.8 | 2, 0 |",
    ]


def test_a_table_shows_further_numbers_of_the_arms_that_have_them(tmp_path):
    wider = dataclasses.replace(PAIR, beside=("elbo", "training_seconds", "nobody_has_this"))
    for seed, (elbo, seconds) in enumerate([(-3.0, 1.0), (-5.0, 2.0), (None, 3.0)]):
        found = {"modes_covered": 1.0, "elbo": elbo}
        write_record(
            tmp_path, PAIR.arms[0], seed, status="done", metrics=found, training_seconds=seconds
        )
    write_values(tmp_path, PAIR.arms[1], [2.0, 4.0])
    assert experiments.as_markdown(wider, TINY, tmp_path).splitlines() == [
        "| a pair | modes that any sample reaches | ELBO, nats | training seconds "
        "| paired difference, 95 % | better, worse |",
        "|---|---|---|---|---|---|",
        "| gan | 1.000 ± 0.0 | -4.000 ± 1.4 (2 runs) | 2.000 ± 1.0 |  |  |",
        # Differences 1, 3: standard deviation 1.4142, times 12.706 / sqrt(2).
        "| iwgan, k = 2 | 3.000 ± 1.4 |  |  | +2.00 ± 13 | 2, 0 |",
    ]
    assert "elbo -4 ± 1.4" in experiments.as_text(wider, TINY, tmp_path)


def test_any_arm_can_be_the_base(tmp_path):
    write_values(tmp_path, PAIR.arms[0], [1.0, 2.0, 3.0])
    write_values(tmp_path, PAIR.arms[1], [2.0, 2.0, 6.0])
    gan, iwgan = experiments.summarise(PAIR, TINY, tmp_path, against="iwgan, k = 2")
    assert iwgan.difference is None
    assert gan.difference.mean == pytest.approx(-4 / 3)
    assert (gan.difference.better, gan.difference.worse) == (0, 2)
    with pytest.raises(UnigenError, match="no arm 'vae'; choose one of: gan, iwgan, k = 2"):
        experiments.summarise(PAIR, TINY, tmp_path, against="vae")


def test_the_density_estimator_is_asked_about_dropped_modes_and_kept_ones():
    """A sampler that leaves three modes out, and an estimator that calls these and a fourth missed.

    A few samples of a dropped mode do not make it a kept one.
    """
    toy = data.toy("ring")

    class Partial:
        device = torch.device("cpu")

        def sample(self, n):
            x, mode = toy.sample_with_modes(4 * n, torch.Generator().manual_seed(0))
            some = torch.cat([x[mode > 2][: n - 5], x[mode == 0][:5]])
            return some.float()

        def missed(self, x, k):
            true = toy.log_density(x).float()
            mode = toy.mode_of(x)
            return Missed((mode >= 0) & (mode < 4), true + 0.5, true - 2.0)

    test_set = data.load("ring", "test").x[:1000]
    mode = toy.mode_of(test_set)
    assert experiments.density_scores(Partial(), "ring", 1000, seed=0) == pytest.approx(
        {
            "log_model_density": toy.log_density(test_set).mean().item() - 2.0,
            "log_density_error": 0.5,
            "modes_dropped": 3,
            "dropped_called_missed": 1.0,
            "kept_called_missed": ((mode == 3).sum() / (mode > 2).sum()).item(),
        },
        abs=1e-4,
    )


@pytest.mark.parametrize(
    ("name", "lr", "betas"), [("gan", 5e-4, (0.5, 0.999)), ("vae", 1e-3, (0.9, 0.999))]
)
def test_a_comparison_may_leave_the_optimiser_to_fit(name, lr, betas, run, tmp_path):
    alone = Comparison(
        "alone", "C", "alone", (Arm(name, {"latent": 2}),), "frechet_distance",
        higher_is_better=False, data="mnist-mini", lr=None, betas=None,
    )  # fmt: skip
    run(seeds=(0,), comparison=alone)
    (record,) = records(tmp_path).values()
    assert set(record["lr"].values()) == {lr}
    assert tuple(record["betas"]) == betas


def test_an_arm_may_be_trained_in_another_precision(run, tmp_path):
    plain = Arm("gan", {"latent": 2})
    rounded = dataclasses.replace(plain, label="gan, bf16", precision="bf16")
    run(seeds=(0,), comparison=dataclasses.replace(PAIR, arms=(plain, rounded)))
    of_plain, of_rounded = records(tmp_path).values()
    assert (of_plain["precision"], of_rounded["precision"]) == ("float32", "bf16")
    first, other = (record["curve"]["discriminator/loss"][0] for record in (of_plain, of_rounded))
    assert other == pytest.approx(first, rel=0.02)
    assert other != first
    plain_record = next((tmp_path / "out").rglob("gan/seed0.json"))
    del of_plain["precision"]  # as in older records
    plain_record.write_text(json.dumps(of_plain))
    assert len(experiments.read_records(PAIR, TINY, plain, tmp_path / "out")) == 1


def test_a_table_names_the_machine_the_day_and_the_commit(run, tmp_path):
    run(seeds=(0, 1))
    said = experiments.provenance_of([PAIR], TINY, tmp_path / "out")
    assert said.startswith("4 runs with seeds 0 to 1 on 20")
    assert f"torch {torch.__version__}, commit " in said
    path = experiments.record_path(tmp_path / "out", TINY, PAIR, PAIR.arms[0], 0)
    lines = path.read_text().splitlines()
    record = json.loads(path.read_text())
    assert len(lines) == len(record) + 2  # a line for each entry


BOUND = Comparison(
    "vae-aavae-1",
    "B",
    "a pair of autoencoders",
    (Arm("vae"), Arm("aavae", {}, "aavae, D slow", {"discriminator": 1e-4})),
    "elbo",
    higher_is_better=True,
    share=0.01,
    options={"latent": 2},
    lr=1e-3,
)


def test_the_bound_is_that_of_the_best_look_at_images_kept_aside(run, tmp_path):
    scale = Scale("tiny", "mnist-mini", 6, 16, 100, "mlp", looks=3)
    failed, _ = run(scale, seeds=(0,), comparison=BOUND)
    assert failed == []
    found = records(tmp_path)
    vae = found["tiny/vae-aavae-1/vae/seed0.json"]
    looks, measured = vae["looks"], vae["metrics"]
    assert looks["step"] == [0, 2, 4, 6]
    best = looks["elbo aside"].index(max(looks["elbo aside"]))
    assert measured["elbo"] == pytest.approx(looks["elbo test"][best], rel=1e-6)  # seven digits
    assert measured["elbo_step"] == looks["step"][best]
    assert measured["elbo_at_the_end"] == pytest.approx(looks["elbo test"][-1], abs=0.5)
    adversarial = found["tiny/vae-aavae-1/aavae-D-slow/seed0.json"]
    assert adversarial["lr"] == {"discriminator": 1e-4, "variational": 1e-3}
    assert vae["data"] == adversarial["data"]


def test_the_gap_of_inference_is_that_of_the_look_that_is_reported(run, tmp_path):
    scale = Scale("tiny", "mnist-mini", 6, 16, 100, "mlp", looks=3)
    comparison = dataclasses.replace(BOUND, arms=BOUND.arms[:1], beside=("iwae", "inference_gap"))
    failed, _ = run(scale, seeds=(0,), comparison=comparison)
    assert failed == []
    (record,) = records(tmp_path).values()
    looks, measured = record["looks"], record["metrics"]
    best = looks["step"].index(measured["elbo_step"])
    assert measured["iwae"] == pytest.approx(looks["iwae test"][best], rel=1e-6)  # seven digits
    assert measured["inference_gap"] == pytest.approx(measured["iwae"] - measured["elbo"])
    # At the last look the model is the trained one, which `evaluate` measures by other draws.
    assert measured["iwae_at_the_end"] == pytest.approx(looks["iwae test"][-1], abs=0.5)
    # A bound of many draws is the higher one, by more than the error of either.
    assert all(i > e + 0.1 for i, e in zip(looks["iwae test"], looks["elbo test"], strict=True))
    (by_iwae,) = experiments.summarise(comparison, scale, tmp_path / "out", metric="iwae")
    assert by_iwae.values == {0: measured["iwae"]}
    shown = experiments.as_markdown(comparison, scale, tmp_path / "out")
    assert "IWAE bound, 50 draws, nats" in shown


def test_the_best_look_is_chosen_without_the_test_set():
    history = training.History(0, "cpu", 1)
    history.watched_steps = [0, 5, 10]
    history.watched = {"elbo aside": [-9.0, -3.0, -4.0], "elbo test": [-8.0, -5.0, -1.0]}
    bounds = {"elbo": -5.0, "elbo_aside": -3.0, "elbo_step": 5}
    assert experiments.at_the_best_look(history) == bounds
    history.watched["iwae test"] = [-7.0, -4.5, -0.5]
    gap = {"iwae": -4.5, "inference_gap": 0.5}
    assert experiments.at_the_best_look(history) == bounds | gap


def test_images_kept_aside_are_trained_on_by_nobody():
    scale = experiments.SCALES["laptop"]
    whole = data.load("mnist-mini", "train")
    (everything,) = experiments.find(["vae-aavae-100"])
    used = experiments.training_set(everything, scale)
    aside = experiments.kept_aside(everything, scale)
    assert len(used) + len(aside) == len(whole)
    assert abs(len(aside) - len(whole) // 10) <= 10
    # The labels say which images they are: the first nine tenths of each class, and the rest.
    for c in range(10):
        at = (whole.labels == c).nonzero()[:, 0]
        ours = whole.subset(at[-int((aside.labels == c).sum()) :])
        theirs = aside.subset((aside.labels == c).nonzero()[:, 0])
        grey = ours.x.float() / 255
        assert ((theirs.x == 255) <= (grey > 0)).all()
        assert ((theirs.x == 0) <= (grey < 1)).all()


def test_a_share_is_taken_of_every_class():
    whole = data.load("mnist-mini", "train")
    kept = experiments.first_of_each_class(whole, 0.01)
    assert torch.bincount(whole.labels[kept]).tolist() == [10] * 10
    assert kept.tolist() == sorted(kept.tolist())


@pytest.mark.parametrize("comparison", experiments.COMPARISONS, ids=lambda c: c.name)
def test_every_declared_arm_can_be_made(comparison):
    scale = experiments.SCALES["laptop"]
    # Not shipped; the shipped digits have the same form.
    if comparison.data == "fashion-mnist" or (comparison.data, comparison.size) == ("usps", 28):
        comparison = dataclasses.replace(comparison, data="{digits}")
    if comparison.data in ("svhn", "cifar10"):
        x = torch.zeros(20, *data.SOURCES[comparison.data].shape, dtype=torch.uint8)
        train_set = data.Dataset(x, torch.arange(20) % 10, num_classes=10)
    else:
        train_set = experiments.training_set(comparison, scale)
    names = [arm.name for arm in comparison.arms]
    assert len(set(names)) == len(names)
    for arm in comparison.arms:
        options = experiments.arm_options(comparison, arm, scale, train_set)
        models.create(arm.model, shape=train_set.shape, **options)


@pytest.mark.parametrize(
    ("mean", "sd", "shown"),
    [
        (362.61, 20.9, "362.6 ± 21"),
        (9.8, 0.42, "9.800 ± 0.42"),
        (12345.6, 123.0, "1.235e+04 ± 1.2e+02"),
        (1234.6, 20.0, "1235 ± 20"),
        (3.558, math.nan, "3.558"),
    ],
)
def test_numbers_are_shown_with_as_many_digits_as_they_deserve(mean, sd, shown):
    assert experiments._with_spread(mean, sd) == shown


def test_unknown_tables_and_scales_are_named(capsys):
    with pytest.raises(UnigenError, match="no table or comparison 'E'; choose from: A, B"):
        experiments.find(["A", "E"])
    assert cli.main(["reproduce", "A", "--scale", "moon"]) == 2
    assert "choose one of: laptop, paper" in capsys.readouterr().err
    assert cli.main(["reproduce"]) == 0
    assert "gan-iwgan" in capsys.readouterr().out
