"""Pruners as plain values: examples computed by hand, and Optuna's own where it is installed."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from daskperiment import DaskperimentError, PrunerError
from daskperiment.search.pruners import (
    Hyperband,
    MedianPruner,
    Other,
    Patience,
    PercentilePruner,
    Pruner,
    SuccessiveHalving,
    Threshold,
    check_pruner,
    pruner_of,
)

NAN = math.nan
ALL: list[Pruner] = [
    MedianPruner(3, 2, 4),
    PercentilePruner(12.5, interval=2),
    SuccessiveHalving(2, 3),
    Hyperband(1, 81),
    Threshold(lower=-1.5),
    Threshold(0, math.inf),
    Patience(3, 0.25, Hyperband(2, 16, 2)),
    Patience(0),
]


def others(*curves: Any, complete: bool = True) -> list[Other]:
    """Trials that have reported these values, by epoch or from epoch 0 on."""
    reports = [curve if isinstance(curve, dict) else dict(enumerate(curve)) for curve in curves]
    return [Other(f"trial{n}", values, complete) for n, values in enumerate(reports)]


def asked(pruner: Pruner, curve: Any, *arguments: Any, **more: Any) -> bool:
    """What it says of a trial with these reports."""
    own = curve if isinstance(curve, dict) else dict(enumerate(curve))
    epoch = max(own)
    return pruner.prunes(epoch, own[epoch], own, *arguments, **more)


# -- percentiles


def test_the_median_pruner_prunes_what_is_worse_than_the_median() -> None:
    five = others([1.0], [2.0], [3.0], [4.0], [5.0])

    assert not asked(MedianPruner(), [3.0], five)
    assert asked(MedianPruner(), [3.1], five)


def test_of_an_even_number_the_median_lies_between_two() -> None:
    four = others([1.0], [2.0], [4.0], [5.0])

    assert not asked(MedianPruner(4), [3.0], four)
    assert asked(MedianPruner(4), [3.01], four)


def test_a_percentile_says_which_part_goes_on() -> None:
    five = others([1.0], [2.0], [3.0], [4.0], [5.0])  # at 25: 2, at 10: 1.4, at 100: 5

    assert not asked(PercentilePruner(25), [2.0], five)
    assert asked(PercentilePruner(25), [2.01], five)
    assert not asked(PercentilePruner(10), [1.4], five)
    assert asked(PercentilePruner(10), [1.41], five)
    assert not asked(PercentilePruner(100), [5.0], five)
    assert asked(PercentilePruner(0), [1.01], five)


def test_where_more_is_better_the_best_are_the_largest() -> None:
    five = others([1.0], [2.0], [3.0], [4.0], [5.0])  # the best quarter begins at 4

    assert not asked(PercentilePruner(25), [4.0], five, direction="maximize")
    assert asked(PercentilePruner(25), [3.99], five, direction="maximize")
    assert not asked(MedianPruner(), [3.0], five, direction="maximize")
    assert asked(MedianPruner(), [2.9], five, direction="maximize")


def test_its_best_report_counts_and_theirs_at_this_epoch() -> None:
    five = others(*[[1.0, 5.0]] * 5)

    assert not asked(MedianPruner(), [4.0, 9.0], five)
    assert asked(MedianPruner(), [6.0, 9.0], five)


def test_nothing_is_pruned_before_enough_trials_are_complete() -> None:
    four = others([1.0], [1.0], [1.0], [1.0])

    assert not asked(MedianPruner(), [9.0], four)
    assert not asked(MedianPruner(5), [9.0], four + others([1.0], complete=False))
    assert asked(MedianPruner(4), [9.0], four)
    assert not asked(MedianPruner(0), [9.0], [])


def test_trials_that_have_not_completed_do_not_count() -> None:
    good, bad = others(*[[1.0]] * 5, complete=False), others(*[[9.0]] * 5)

    assert not asked(MedianPruner(), [5.0], good + bad)


def test_nothing_is_pruned_in_the_warm_up() -> None:
    five = others(*[[1.0] * 20] * 5)

    assert not asked(MedianPruner(warmup_epochs=3), [9.0, 9.0, 9.0], five)
    assert asked(MedianPruner(warmup_epochs=3), [9.0, 9.0, 9.0, 9.0], five)


def test_between_two_intervals_it_does_not_look() -> None:
    five = others(*[[1.0] * 20] * 5)
    pruner = MedianPruner(warmup_epochs=2, interval=3)

    looks = [epoch for epoch in range(12) if asked(pruner, [9.0] * (epoch + 1), five)]

    assert looks == [2, 5, 8, 11]


def test_a_look_without_a_report_is_made_up_for() -> None:
    five = others(*[[1.0] * 20] * 5)
    pruner = MedianPruner(warmup_epochs=2, interval=3)

    assert not asked(pruner, {2: 9.0, 4: 9.0}, five)
    assert asked(pruner, {2: 9.0, 4: 9.0, 6: 9.0}, five)
    assert not asked(pruner, {2: 9.0, 4: 9.0, 6: 9.0, 7: 9.0}, five)
    assert asked(pruner, {2: 9.0, 4: 9.0, 5: 9.0, 6: 9.0}, five, since=4)


def test_where_nobody_has_come_to_the_epoch_nothing_is_pruned() -> None:
    assert not asked(MedianPruner(), {7: 9.0}, others(*[[1.0]] * 5))


def test_of_nan_it_prunes_what_is_its_own_and_passes_over_the_others() -> None:
    five = others([NAN], [1.0], [NAN], [3.0], [NAN])

    assert asked(MedianPruner(), [NAN], five)
    assert not asked(MedianPruner(), [2.0], five)
    assert asked(MedianPruner(), [2.1], five)
    assert not asked(MedianPruner(), [1.0, NAN], others(*[[1.0, 1.0]] * 5))
    assert not asked(MedianPruner(), [2.0], others(*[[NAN]] * 5))


def test_infinities_are_numbers() -> None:
    five = others([math.inf], [math.inf], [math.inf], [1.0], [1.0])

    assert not asked(MedianPruner(), [math.inf], five)
    assert asked(MedianPruner(), [math.inf], others(*[[1.0]] * 5))


# -- successive halving


def test_of_four_that_have_come_to_a_rung_one_goes_on() -> None:
    seven = others(*[{1: float(n)} for n in range(1, 8)])

    assert not asked(SuccessiveHalving(), {1: 0.5}, seven)
    assert not asked(SuccessiveHalving(), {1: 2.0}, seven)  # of eight two go on
    assert asked(SuccessiveHalving(), {1: 2.5}, seven)
    assert asked(SuccessiveHalving(), {1: 2.5}, seven[:6])  # of seven one


def test_of_fewer_the_best_one_goes_on() -> None:
    assert not asked(SuccessiveHalving(), {1: 9.0}, [])
    assert not asked(SuccessiveHalving(), {1: 1.0}, others({1: 1.0}))
    assert asked(SuccessiveHalving(), {1: 1.1}, others({1: 1.0}))


def test_between_rungs_nothing_is_pruned() -> None:
    best = others(dict.fromkeys(range(70), 0.0))
    pruner = SuccessiveHalving(min_resource=2, reduction=3)

    rungs = [n for n in range(70) if asked(pruner, dict.fromkeys(range(n + 1), 1.0), best)]

    assert rungs == [2, 6, 18, 54]


def test_a_rung_that_was_passed_unasked_is_made_up_for() -> None:
    best, own = others(dict.fromkeys(range(20), 0.0)), dict.fromkeys(range(11), 1.0)
    pruner = SuccessiveHalving()

    assert not asked(pruner, own, best)
    assert asked(pruner, own, best, since=2)
    assert not asked(pruner, own, best, since=4)
    assert asked(pruner, {0: 1.0, 7: 1.0}, best)


def test_running_and_failed_trials_compete_too() -> None:
    assert asked(SuccessiveHalving(), {1: 2.0}, others({1: 1.0}, complete=False))
    assert SuccessiveHalving().running and not MedianPruner().running


def test_on_a_rung_the_first_report_from_there_on_counts() -> None:
    assert not asked(SuccessiveHalving(4), {5: 1.0}, others({3: 0.0, 6: 2.0, 7: 0.0}))


def test_on_a_rung_nan_is_pruned_and_that_of_others_passed_over() -> None:
    assert asked(SuccessiveHalving(), {1: NAN}, [])
    assert not asked(SuccessiveHalving(), {1: 1.0, 2: NAN}, [])
    assert not asked(SuccessiveHalving(), {1: 1.0}, others({1: NAN}, {1: 2.0}))


def test_a_rung_of_the_largest() -> None:
    seven = others(*[{1: float(n)} for n in range(1, 8)])

    assert not asked(SuccessiveHalving(), {1: 6.5}, seven, direction="maximize")
    assert asked(SuccessiveHalving(), {1: 5.5}, seven, direction="maximize")


# -- hyperband


def test_brackets_are_those_of_the_paper() -> None:
    brackets = Hyperband(1, 81).brackets

    assert [each.min_resource for each, _ in brackets] == [1, 3, 9, 27, 81]
    assert [share for _, share in brackets] == [81, 34, 15, 8, 5]


def test_a_power_is_not_missed_by_rounding() -> None:
    assert len(Hyperband(1, 3**5).brackets) == 6  # log(243) / log(3) is 4.999...
    assert len(Hyperband(1, 3**5 - 1).brackets) == 5
    assert len(Hyperband(7, 7).brackets) == 1


def test_trials_get_into_brackets_by_their_shares() -> None:
    pruner, chance = Hyperband(1, 9), random.Random(0)
    found = [pruner.bracket(f"{chance.getrandbits(128):032x}") for _ in range(17_000)]

    counts = [found.count(index) for index in range(3)]

    assert all(abs(n - 1000 * share) < 500 for n, share in zip(counts, (9, 5, 3), strict=True))


def test_a_trial_is_compared_within_its_bracket() -> None:
    pruner = Hyperband(1, 9)
    early = [name for name in map(str, range(50)) if pruner.bracket(name) == 0]
    late = [name for name in map(str, range(50)) if pruner.bracket(name) == 2]
    good_early, good_late = Other(early[0], {1: 0.0, 9: 0.0}, True), Other(late[0], {9: 0.0}, True)

    assert asked(pruner, {1: 1.0}, [good_early], trial=early[1])
    assert not asked(pruner, {1: 1.0}, [good_early, good_late], trial=late[1])
    assert not asked(pruner, {9: 1.0}, [good_early], trial=late[1])
    assert asked(pruner, {9: 1.0}, [good_early, good_late], trial=late[1])


# -- thresholds and patience


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_thresholds_hold_in_both_directions(direction: Any) -> None:
    pruner = Threshold(lower=-1, upper=2.5)

    pruned = [asked(pruner, [v], direction=direction) for v in (-1.1, -1.0, 0.0, 2.5, 2.6, NAN)]

    assert pruned == [True, False, False, False, True, True]


def test_one_threshold_is_enough() -> None:
    assert not asked(Threshold(upper=1), [-math.inf])
    assert asked(Threshold(lower=1), [0.5])
    assert not asked(Threshold(lower=1), [math.inf])


def test_patience_ends_what_has_got_worse_for_long() -> None:
    losses = [0.5, 0.3, 0.4, 0.35, 0.31, 0.32]

    ends = [n for n in range(1, 7) if asked(Patience(2), losses[:n])]

    assert ends == [5, 6]
    assert not asked(Patience(2), [0.5, 0.3, 0.4, 0.35, 0.3])  # it has recovered
    assert not asked(Patience(2), [0.3] * 10)  # a plateau is not worse


def test_patience_allows_for_a_difference() -> None:
    losses = [1.0, 1.25, 1.5]

    assert asked(Patience(1, delta=0.2), losses)
    assert not asked(Patience(1, delta=0.25), losses)


def test_patience_where_more_is_better() -> None:
    scores = [0.5, 0.7, 0.6, 0.65]

    assert asked(Patience(1), scores, direction="maximize")
    assert not asked(Patience(1), [0.5, 0.7, 0.6, 0.75], direction="maximize")


def test_after_patience_another_pruner_has_the_last_word() -> None:
    pruner = Patience(1, pruner=Threshold(upper=0.36))

    assert not asked(pruner, [0.3, 0.4])
    assert not asked(pruner, [0.5, 0.3, 0.4, 0.35])
    assert asked(pruner, [0.5, 0.3, 0.4, 0.37])
    assert not Patience(1).running and Patience(1, 0, SuccessiveHalving()).running


def test_patience_passes_over_nan() -> None:
    assert not asked(Patience(1), [NAN] * 5)
    assert asked(Patience(1), [0.3, NAN, 0.4, 0.4])
    assert not asked(Patience(1), [0.3, NAN, NAN])


# -- what they have in common


def never() -> Iterator[Other]:
    pytest.fail("others were asked for")
    yield


@pytest.mark.parametrize(
    ("pruner", "curve"),
    [
        (MedianPruner(warmup_epochs=5), [1.0]),
        (MedianPruner(interval=3), [1.0, 1.0]),
        (SuccessiveHalving(4), [1.0]),
        (Hyperband(4, 16), [1.0]),
        (Threshold(upper=0), [1.0]),
        (Patience(1), [1.0, 2.0, 3.0]),
        (Patience(1, 0, MedianPruner()), [1.0]),
    ],
    ids=str,
)
def test_others_are_not_looked_at_in_vain(pruner: Pruner, curve: list[float]) -> None:
    asked(pruner, curve, never())


@pytest.mark.parametrize("pruner", ALL, ids=str)
def test_a_document_gives_the_pruner_again(pruner: Pruner) -> None:
    document = json.loads(json.dumps(pruner.document()))

    assert pruner_of(document) == pruner
    assert type(pruner_of({**document, "direction": "maximize"})) is type(pruner)
    assert check_pruner(pruner) is pruner


@pytest.mark.parametrize(
    "document",
    [
        None, 3, "MedianPruner", {}, {"name": "Median"}, {"name": ["MedianPruner"]},
        {"name": "MedianPruner", "startup": 3}, {"name": "Hyperband"},
        {"name": "MedianPruner", "interval": 0}, {"name": "Threshold"},
        {"name": "Patience", "patience": 1, "pruner": {"name": "__init__"}},
        {"name": "Patience", "patience": 1, "pruner": 7}, {"name": "Threshold", 3: 4},
    ],
    ids=str,
)  # fmt: skip
def test_other_documents_are_refused(document: Any) -> None:
    with pytest.raises(PrunerError):
        pruner_of(document)


WRONG: list[tuple[Callable[[], object], str]] = [
    (lambda: MedianPruner(-1), "startup_trials is an integer from 0 on, not -1"),
    (lambda: MedianPruner(warmup_epochs=1.0), "warmup_epochs is an integer"),  # type: ignore[arg-type]
    (lambda: MedianPruner(interval=0), "interval is an integer from 1 on, not 0"),
    (lambda: PercentilePruner(101), "percentile is a number from 0 to 100, not 101"),
    (lambda: PercentilePruner(NAN), "percentile is a number from 0 to 100, not nan"),
    (lambda: PercentilePruner("50"), "percentile is a number"),  # type: ignore[arg-type]
    (lambda: SuccessiveHalving(0), "min_resource is an integer from 1 on, not 0"),
    (lambda: SuccessiveHalving(True), "min_resource is an integer"),
    (lambda: SuccessiveHalving(reduction=1), "reduction is an integer from 2 on, not 1"),
    (lambda: Hyperband(9, 3), "max_resource is an integer from 9 on, not 3"),
    (lambda: Threshold(), "lower=, upper= or both"),
    (lambda: Threshold(NAN), "lower is a number, not nan"),
    (lambda: Threshold(2, 1), "lower=2 is above upper=1"),
    (lambda: Patience(-1), "patience is an integer from 0 on, not -1"),
    (lambda: Patience(1, -0.5), "delta is a number from 0 on, not -0.5"),
    (lambda: Patience(1, 0, MedianPruner), r"give MedianPruner\(\)"),  # type: ignore[arg-type]
    (lambda: check_pruner(None), "None is no pruner: give a pruner"),
    (lambda: MedianPruner().prunes(0, 1.0, {}, direction="up"), "direction is 'minimize' or"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("make", "message"), WRONG, ids=[message for _, message in WRONG])
def test_what_cannot_be_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(PrunerError, match=message) as caught:
        make()

    assert isinstance(caught.value, ValueError) and isinstance(caught.value, DaskperimentError)


# -- Optuna's own


def same_as_optuna(pruner: Pruner, theirs: Any, direction: Any, chance: random.Random) -> int:
    """Compare all answers in a search of trials that run in turn; how many were pruned."""
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction=direction, pruner=theirs)
    before: list[Other] = []
    for _ in range(60):
        trial, own, slope = study.ask(), {}, chance.uniform(-1, 1)
        pruned = False
        for epoch in range(chance.randrange(5, 40)):
            if chance.random() < 0.2 and not isinstance(pruner, SuccessiveHalving):
                continue  # no report
            value = NAN if chance.random() < 0.02 else slope * epoch + chance.gauss(0, 3)
            trial.report(value, epoch)
            own[epoch] = value
            pruned = pruner.prunes(epoch, value, own, before, direction=direction)
            assert pruned == trial.should_prune()
            if pruned:
                break
        state = optuna.trial.TrialState
        study.tell(trial, None if pruned else slope, state.PRUNED if pruned else state.COMPLETE)
        before.append(Other(str(len(before)), own, not pruned))
    return sum(not other.complete for other in before)


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["median", "percentile", "halving", "threshold", "patience"])
@pytest.mark.filterwarnings("ignore:All-NaN slice")  # of NumPy, which Optuna asks
@pytest.mark.filterwarnings("ignore:.*is experimental")
def test_the_answers_are_those_of_optuna(kind: str, direction: str, seed: int) -> None:
    optuna = pytest.importorskip("optuna")
    ours, theirs = {
        "median": (MedianPruner(4, 3, 2), optuna.pruners.MedianPruner(4, 3, 2)),
        "percentile": (PercentilePruner(30.0, 2), optuna.pruners.PercentilePruner(30.0, 2)),
        "halving": (SuccessiveHalving(2, 3), optuna.pruners.SuccessiveHalvingPruner(2, 3)),
        "threshold": (Threshold(-20, 15), optuna.pruners.ThresholdPruner(-20, 15)),
        "patience": (
            Patience(4, 1.5, MedianPruner(2)),
            optuna.pruners.PatientPruner(optuna.pruners.MedianPruner(2), 4, 1.5),
        ),
    }[kind]

    assert 10 < same_as_optuna(ours, theirs, direction, random.Random(seed)) < 60
