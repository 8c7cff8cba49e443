from dataclasses import replace

import pytest

from lib import masking, publish, records, stale, training
from lib.models import MODELS
from lib.models.registry import Config, later
from lib.paths import REPORTS

STANDARD = [records.read(file) for file in sorted((REPORTS / "results" / "standard").glob("*.json"))]


def families(found):
    return {record.model.family for record in found}


def test_committed_records_match_the_code():
    assert STANDARD and not [record.name for record in STANDARD if stale.reasons(record)]


def test_a_new_version_makes_stale_what_it_touches_and_names_it(monkeypatch):
    monkeypatch.setitem(MODELS, "adversarial", replace(MODELS["adversarial"], version=2))
    touched = [record for record in STANDARD if stale.reasons(record)]
    assert families(touched) == {"adversarial"}
    assert stale.reasons(touched[0]) == ["model.adversarial: version 1 -> 2"]


def test_a_new_loop_leaves_what_was_not_trained(monkeypatch):
    monkeypatch.setattr(training, "VERSION", 2)
    untouched = [record for record in STANDARD if not stale.reasons(record)]
    assert families(untouched) == {"mean_fill", "pca", "biharmonic", "raw_pixels", "mae"}
    assert all(record.parameters["recipe"]["epochs"] == 0 for record in untouched)


def test_a_strategy_touches_those_trained_or_judged_on_it(monkeypatch):
    monkeypatch.setitem(masking.STRATEGIES, "block", replace(masking.STRATEGIES["block"], version=5))
    touched = {record.key for record in STANDARD if stale.reasons(record)}
    judged = {record.key for record in STANDARD if "block@0.75/psnr_hidden" in record.metrics["test"]}
    assert touched == judged and len(judged) < len(STANDARD)


def test_parameters_that_are_no_longer_accepted_are_a_reason():
    record = STANDARD[0].model_copy(update={"parameters": STANDARD[0].parameters | {"model": "gone"}})
    assert "unknown model 'gone'" in stale.reasons(record)[0]


def test_a_later_field_leaves_old_identities_alone():
    class Old(Config):
        a: int = 1

    class New(Config):
        a: int = 1
        b: str = later("drop", before="drop")
        inner: Old = Old()

    assert New().identity() == {"a": 1, "inner": {"a": 1}} and New(b="keep").identity()["b"] == "keep"


def test_a_later_field_may_begin_with_another_default():
    class New(Config):
        b: str = later("keep", before="drop")

    assert New().identity() == {"b": "keep"} and New(b="drop").identity() == {}


def test_stale_records_are_not_published(monkeypatch):
    assert "adversarial" in publish.table("standard")
    monkeypatch.setitem(MODELS, "adversarial", replace(MODELS["adversarial"], version=2))
    assert "adversarial" not in publish.table("standard")


def test_the_command_lists_them(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(MODELS, "pca", replace(MODELS["pca"], version=7))
    assert stale.main([]) == 0
    said = capsys.readouterr().out
    assert "_pca_" in said and "model.pca: version 1 -> 7" in said and said.splitlines()[-1].endswith("records match the code")
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(records.DamagedRecord, match=r"x\.json"):
        stale.main([str(tmp_path)])
