"""What is published is what the committed records say."""

import pytest

from lib import publish, records
from lib.paths import REPORTS, ROOT


@pytest.mark.parametrize("scale", publish.SCALES)
def test_published_tables_are_those_of_the_committed_records(scale):
    file = REPORTS / "tables" / f"{scale}.csv"
    assert (file.read_text() if file.exists() else "") == publish.table(scale)


def test_the_readme_shows_the_published_tables():
    text = (ROOT / "README.md").read_text()
    assert publish.START in text and publish.END in text
    assert text == publish.readme(text)


def test_committed_records_are_whole_and_hold_no_path():
    for scale in publish.SCALES:
        for file in sorted((REPORTS / "results" / scale).glob("*.json")):
            record = records.read(file)
            assert record.scale == scale and file.stem == record.name
            assert not [place for place in ("/home/", "/root/", "/tmp/", "/work/") if place in record.model_dump_json()]
            if any("/" in name for name in record.metrics["test"]):
                rows = records.read_images(file)
                name = next(name for name in record.metrics["test"] if name.endswith("psnr_hidden"))
                chosen = rows[(rows["split"] == "test") & (rows["mask"] == name.split("/")[0])]
                assert len(chosen) == record.metrics["test"][name].n
