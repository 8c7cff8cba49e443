"""Arms of a comparison differ in one thing, and a control in the thing that it controls."""

import pytest

from lib.run import arms
from lib.run.parameters import check

NOTEBOOK = "06_larger_data"


def asked(**given):
    return check(NOTEBOOK, given)


def different(one, other) -> set[str]:
    """Fields in which two experiments differ."""
    first, second = one.parameters(), other.parameters()
    return {name for name in first if first[name] != second[name]}


def test_every_family_is_trained_under_every_ratio_and_strategy():
    p = asked(strategies=["random", "block"], mask_ratios=[0.75, 0.5, 0.0])
    found = arms.families(p, 3)
    assert {one.seed for one in found.values()} == {3}
    assert len(found) == 3 * (2 + 2 + 1)
    masked = found["ViT-MAE, random 75%"]
    assert different(masked, found["ViT-MAE, block 75%"]) == {"strategy"}
    assert different(masked, found["ViT-MAE, random 50%"]) == {"mask_ratio"}


def test_a_control_has_nothing_hidden_and_the_same_budget():
    found = arms.families(asked(), 0)
    for name in ("ViT-MAE", "Autoencoder (MLP)", "Adversarial autoencoder"):
        masked, control = found[f"{name}, random 75%"], found[f"{name}, not masked"]
        assert different(masked, control) == {"mask_ratio", "options"}
        assert control.mask_ratio == 0 and control.options["loss_on"] == "all"


def test_a_family_has_its_own_epochs_and_can_be_left_out():
    p = asked(epochs=3, autoencoder_epochs=7, options={"adversarial": None}, mask_ratios=[0.75])
    found = arms.families(p, 0)
    epochs = {name: one.recipe.epochs for name, one in found.items()}
    assert epochs == {"ViT-MAE, random 75%": 3, "Autoencoder (MLP), random 75%": 7}


@pytest.fixture
def few():
    p = asked(learning_rates=[0.1, 0.2, 0.3], fine_tune={"shares": [0.1, 1.0]}, seeds=[5])
    return arms.few_labels(p, "mae", seed=5, steps=40)


def test_all_ways_get_the_same_labels(few):
    assert {one.seed for one in few.values()} == {5}
    shares = {name: one.fine_tune.shares for name, one in few.items()}
    assert shares.pop("scratch, longer") == (0.1,), "with all labels there is nothing to add"
    assert set(shares.values()) == {(0.1, 1.0)}


def test_with_all_labels_alone_the_longer_run_has_them(few):
    p = asked(fine_tune={"shares": [1.0]})
    alone = arms.few_labels(p, "mae", seed=5, steps=40)
    assert alone["scratch, longer"].fine_tune.shares == (1.0,)


def test_some_ways_can_be_chosen_and_others_are_refused():
    p = asked()
    chosen = arms.few_labels(p, "mae", 5, 40, "block", ways=["scratch", "masked"])
    assert list(chosen) == ["scratch", "masked"]
    assert chosen["masked"].pretraining.strategy == "block"
    assert chosen["scratch"].strategy == "random", "where nothing is hidden there is one of it"
    with pytest.raises(ValueError, match="unknown way to use few labels 'maskd'"):
        arms.few_labels(p, "mae", 5, 40, ways=["maskd"])


def test_starts_differ_in_their_pre_training_alone(few):
    assert few["masked"].pretraining == few["masked, frozen"].pretraining
    assert few["not masked"].pretraining == few["not masked, frozen"].pretraining
    masked, plain = few["masked"].pretraining, few["not masked"].pretraining
    assert different(masked, plain) == {"mask_ratio", "options"}
    assert different(masked, few["scratch"].pretraining) == {"recipe"}
    assert few["scratch"].recipe.epochs == 0 == few["pixels, linear"].recipe.epochs


def test_fine_tunings_differ_in_their_rate_and_what_the_longer_run_adds(few):
    rates = {n: few[n].fine_tune.learning_rate for n in ("masked", "not masked", "scratch")}
    assert rates == {"masked": 0.1, "not masked": 0.2, "scratch": 0.3}
    longer, short = few["scratch, longer"].fine_tune, few["scratch"].fine_tune
    assert longer.model_copy(update={"extra_steps": 0, "shares": short.shares}) == short
    assert longer.extra_steps == 40
    frozen = {name for name, one in few.items() if one.fine_tune.method != "all"}
    assert frozen == {"masked, frozen", "not masked, frozen", "pixels, linear", "pixels, nearest"}


def test_baselines_train_nothing():
    found = arms.baselines(asked())
    assert all(not one.trains for one in found.values()) and len(found) == 4
