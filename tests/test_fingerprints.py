"""A behaviour version is raised when results change, and only then."""

import json

import fingerprints
import pytest

STORED = json.loads(fingerprints.FILE.read_text())
COMPONENTS = fingerprints.components()


def test_every_component_has_a_stored_fingerprint():
    assert set(STORED) == set(COMPONENTS), "run: python tests/fingerprints.py"


@pytest.mark.parametrize("name", COMPONENTS)
def test_results_are_those_of_the_version(name):
    assert name in STORED, "a new component: run python tests/fingerprints.py"
    version, measure = COMPONENTS[name]
    assert STORED[name]["version"] == version, (
        "the version was raised: run python tests/fingerprints.py"
    )
    found = measure()
    assert not fingerprints.differs(name, STORED[name]["values"], found), (
        f"{name} gives other results than version {version} did: raise its version if that is meant (of what is new and not committed: git checkout tests/fingerprints.json, and store it again) ({STORED[name]['values']} -> {found})"
    )
    assert found, "a fingerprint of nothing guards nothing"
    if isinstance(found, dict):
        assert found == STORED[name]["values"], (
            "fields were added: run python tests/fingerprints.py"
        )


def test_a_change_of_behaviour_is_noticed_and_rounding_is_not():
    values = [1.0, 2.0]
    assert not fingerprints.differs("training", values, [1.0005, 2.0]) and fingerprints.differs(
        "training", values, [1.005, 2.0]
    )
    assert fingerprints.differs("training", values, [1.0]) and fingerprints.differs(
        "masking.random", "ab", "ac"
    )


def test_a_default_that_changes_is_noticed_and_a_field_that_is_added_is_not():
    stored = {"Recipe": {"epochs": "3", "clip": "None"}}
    assert not fingerprints.differs("x", stored, {"Recipe": stored["Recipe"] | {"new": "1"}})
    assert fingerprints.differs("x", stored, {"Recipe": {"epochs": "4", "clip": "None"}})
    assert fingerprints.differs("x", stored, {"Recipe": {"epochs": "3"}})
    assert fingerprints.differs("x", stored, {"Other": stored["Recipe"]})


def test_new_numbers_under_an_old_version_are_not_stored(tmp_path, monkeypatch, capsys):
    file = tmp_path / "fingerprints.json"
    monkeypatch.setattr(fingerprints, "FILE", file)
    monkeypatch.setattr(fingerprints, "components", lambda: {"toy": (1, lambda: [1.0])})
    assert fingerprints.main() == 0
    monkeypatch.setattr(fingerprints, "components", lambda: {"toy": (1, lambda: [2.0])})
    assert fingerprints.main() == 1 and "results of toy changed" in capsys.readouterr().out
    monkeypatch.setattr(fingerprints, "components", lambda: {"toy": (2, lambda: [2.0])})
    assert fingerprints.main() == 0 and json.loads(file.read_text()) == {
        "toy": {"version": 2, "values": [2.0]}
    }
