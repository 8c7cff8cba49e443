"""pyproject, lock, environment.yml and what is installed stay in step; the repository holds what it should."""

import importlib.metadata
import re
import subprocess
import tomllib

import pytest
import yaml
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from lib.files import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DIRECT = [
    Requirement(text)
    for text in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]
]
LOCK = (ROOT / "requirements.lock").read_text()
PINNED = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)(?: ; ([^\\\n]+))?", LOCK, re.MULTILINE)


def git(*arguments: str) -> list[str]:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    if done.returncode > 1:
        pytest.skip("not a git checkout")
    return done.stdout.splitlines()


@pytest.mark.parametrize("requirement", DIRECT, ids=str)
def test_the_lock_pins_every_direct_dependency_within_its_range(requirement):
    versions = [
        version
        for name, version, _ in PINNED
        if canonicalize_name(name) == canonicalize_name(requirement.name)
    ]
    assert versions and all(requirement.specifier.contains(version) for version in versions)


def test_what_is_installed_is_what_the_lock_says():
    wrong = []
    for name, version, marker in PINNED:
        if marker and not Marker(marker).evaluate():
            continue
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found = None
        own_build = name in ("torch", "torchvision", "triton") or name.startswith(
            ("nvidia-", "cuda-")
        )
        if found != version and not own_build:
            wrong.append(f"{name}: lock {version}, installed {found}")
    assert not wrong, wrong


def test_the_lock_has_hashes_and_names_no_registry():
    assert "://" not in LOCK and "index-url" not in LOCK
    assert len(re.findall(r"^\S+==.*\\$", LOCK, re.MULTILINE)) == len(PINNED), (
        "every entry is followed by its hashes"
    )
    assert ("torch", "2.15.0") in {(name, version) for name, version, _ in PINNED}
    assert ("torchvision", "0.29.2") in {(name, version) for name, version, _ in PINNED}


def test_the_conda_environment_is_python_and_the_lock():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, pip, lists = environment["dependencies"]
    assert (
        Requirement(python.replace("=", "==")).specifier
        and PROJECT["requires-python"] == ">=3.11,<3.14"
        and pip == "pip"
    )
    assert lists == {"pip": ["-r requirements.lock"]}
    assert f"conda activate {environment['name']}" in (ROOT / "docs" / "usage.md").read_text()


def test_git_does_not_ignore_the_code_but_what_runs_make():
    assert (
        git(
            "check-ignore",
            "lib",
            "lib/masking/noise.py",
            "data/README.md",
            "reports/results/standard/x.json",
            "reports/tables/x.csv",
        )
        == []
    )
    generated = [
        "reports/index.html",
        "reports/notebooks/x.ipynb",
        "reports/results/quick/x.json",
        "reports/figures/quick/x.svg",
        "data/MNIST",
        ".venv",
    ]
    assert git("check-ignore", *generated) == generated


def test_no_path_of_a_machine_and_no_large_file_is_committed():
    files = [ROOT / name for name in git("ls-files")]
    for file in files:
        most = 8_000_000 if file.suffix == ".safetensors" else 3_000_000
        assert file.stat().st_size < most, f"{file} is large"
        if file.suffix in {".py", ".md", ".ipynb", ".json", ".yml", ".toml", ".csv", ""}:
            text = file.read_text(errors="ignore")
            assert not re.search(
                r"(?<![\w.$-])/(root|work|Users)/\w|(?<![\w.])/home/[a-z]", text
            ), file


@pytest.fixture
def bootstrap(monkeypatch):
    """The set-up script as a module."""
    monkeypatch.syspath_prepend(str(ROOT / ".ci"))
    import setup

    return setup


@pytest.mark.parametrize(
    ("part", "name", "value", "message"),
    [
        ("sys", "version_info", (3, 10, 4), "Python 3.11, 3.12 or 3.13 is needed, this is 3.10.4"),
        ("os", "access", lambda place, kind: False, "cannot be written to"),
        (
            "shutil",
            "disk_usage",
            lambda place: type("Usage", (), {"free": 1e9}),
            "8 GB of disk are needed",
        ),
    ],
)
def test_set_up_refuses_in_plain_words(bootstrap, monkeypatch, capsys, part, name, value, message):
    monkeypatch.setattr(bootstrap, "PYTHON", "/nowhere/python")
    monkeypatch.setattr(bootstrap, part, _With(getattr(bootstrap, part), name, value))
    with pytest.raises(SystemExit):
        bootstrap.check()
    assert message in capsys.readouterr().err


class _With:
    """A module with one attribute replaced, for one other module only."""

    def __init__(self, module, name, value):
        self.module = module
        setattr(self, name, value)

    def __getattr__(self, name):
        return getattr(self.module, name)


def test_set_up_without_its_own_torch_keeps_all_but_torch_and_cuda(bootstrap):
    kept = bootstrap.without_torch(LOCK)
    names = set(re.findall(r"^([A-Za-z0-9._-]+)==", kept, re.MULTILINE))
    dropped = {name for name, _, _ in PINNED} - names
    assert {"torch", "torchvision"} <= dropped and all(
        name.startswith(bootstrap.HEAVY) for name in dropped
    )
    assert {"numpy", "papermill"} <= names and kept.count("--hash") > 500


def test_every_module_opens_with_an_essay_and_none_seeds():
    for folder in ("lib", "engine"):
        for file in (ROOT / folder).rglob("*.py"):
            text = file.read_text()
            assert text.startswith('"""'), file
            assert "manual_seed(" not in text or file.name in ("streams.py", "registry.py"), file
