"""Configurations refuse what is wrong by name, and are identified by what differs."""

import pytest
from pydantic import ValidationError

from lib.config import Config, Shares, Sizes, unknown


class Some(Config):
    hidden: Sizes = (8, 4)
    shares: Shares = (0.1, 1.0)
    latent: int = 2


class More(Some):
    later: bool = False  # a field that somebody added


def test_what_differs_from_the_defaults_identifies():
    assert Some().identity() == {} == Some(latent=2, hidden=(8, 4)).identity()
    assert Some(latent=3, hidden=(8,)).identity() == {"latent": 3, "hidden": [8]}


def test_a_field_that_is_added_later_leaves_old_identities_alone():
    assert More(latent=3).identity() == Some(latent=3).identity()
    assert More(later=True).identity() == {"later": True}


def test_lists_of_yaml_and_json_are_taken_as_tuples():
    assert Some(hidden=[3, 2], shares=[0.5]) == Some(hidden=(3, 2), shares=(0.5,))
    assert Some.model_validate_json('{"hidden": []}').hidden == ()


@pytest.mark.parametrize(
    "wrong",
    [{"latnet": 3}, {"latent": "3"}, {"latent": 3.0}, {"latent": True}, {"hidden": (0,)}],
)
def test_misspelt_and_ill_typed_fields_are_refused_by_name(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Some(**wrong)


def test_a_configuration_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        Some().latent = 3


def test_an_unknown_name_is_refused_with_the_nearest_and_all_there_are():
    said = unknown("model", "mea", ["autoencoder", "mae"])
    assert said == "unknown model 'mea', did you mean mae? choose one of autoencoder, mae"
    far = unknown("model", "zzz", iter(["autoencoder", "mae"]))
    assert far == "unknown model 'zzz': choose one of autoencoder, mae"


def test_no_more_than_200_characters_of_a_name_are_repeated():
    assert unknown("model", "x" * 10_000, ["mae"]).count("x") == 200
