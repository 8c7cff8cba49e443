"""Claims: a number and its bounds, about the declared parameters and no others."""

import json

import pytest

from lib.run.claims import Claims, file_of
from lib.run.parameters import check

NOTEBOOK = "03_vit_mae"
DIGEST = check(NOTEBOOK, {}).digest


@pytest.fixture
def claims(tmp_path):
    return Claims(check(NOTEBOOK, {"execution": {"output": str(tmp_path)}}), DIGEST)


def test_claims_are_about_declared_parameters(claims, tmp_path, capsys):
    """Where a run happens does not matter to them; what decides its numbers does."""
    given = {"seed": 7, "execution": {"output": str(tmp_path / "other")}}
    other = Claims(check(NOTEBOOK, given), DIGEST)
    claims.check("two is above one", 2, above=1)
    other.check("two is above three", 2, above=3)
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "1 holds: two is above one"
    assert said[1].startswith("Nothing is claimed under these parameters")
    other.check("two is above one", 2, above=1)
    assert not capsys.readouterr().out, "said once"
    assert list(claims.room()) == ["measured", "claimed", "room"]
    assert list(other.room()) == ["of the declared parameters", "measured", "claimed"]
    assert list(other.room()["claimed"]) == ["above 3", "above 1"]


def test_a_claim_that_does_not_hold_fails_with_its_numbers(claims):
    claims.check("two is above one", 2, above=1)
    expected = r"claim 2 does not hold: it is three \(measured 2, claimed above 2.5 and below 3.5\)"
    with pytest.raises(AssertionError, match=expected):
        claims.check("it is three", 2, above=2.5, below=3.5)


@pytest.mark.parametrize(
    ("value", "bounds"),
    [
        (1, {"above": 1}),
        (1, {"below": 1}),
        (float("nan"), {"above": 0}),
        (3, {"above": 0, "below": 2}),
    ],
)
def test_on_its_bound_or_without_a_value_it_does_not_hold(claims, value, bounds):
    with pytest.raises(AssertionError, match="does not hold"):
        claims.check("it holds", value, **bounds)


def test_a_claim_without_a_bound_is_none(claims):
    with pytest.raises(ValueError, match="claims nothing"):
        claims.check("two", 2)


def test_what_was_measured_and_its_room_stand_beside(claims, tmp_path):
    claims.check("it is above", 2.5, above=1)
    claims.check("it is between", 2.0, above=-1, below=2.25)
    room = claims.room()
    assert room["measured"].tolist() == [2.5, 2.0] and room["room"].tolist() == [1.5, 0.25]
    assert room["claimed"].tolist() == ["above 1", "above -1 and below 2.25"]
    kept = json.loads(file_of(tmp_path, "quick", NOTEBOOK).read_text())
    assert [claim["value"] for claim in kept] == [2.5, 2.0]
    assert [claim["holds"] for claim in kept] == [True, True]


def test_measured_for_its_room_nothing_fails(claims, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CLAIMS_NEVER_FAIL", "1")
    claims.check("two is above three", 2, above=3)
    assert "1 does NOT hold: two is above three" in capsys.readouterr().out
    kept = json.loads(file_of(tmp_path, "quick", NOTEBOOK).read_text())
    assert kept[0]["holds"] is False and claims.room()["room"].tolist() == [-1.0]
