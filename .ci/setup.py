"""Make .venv from requirements.lock: `make setup` calls this, any Python can read it.

Checks first and in plain words (Python 3.11 to 3.13, a writable place, disk), then
installs the lock with its hashes through uv, then this project without dependencies.
With OWN_TORCH=1 the torch and torchvision that already lie in .venv stay, and the
lock's CUDA packages are left out: the way to a CPU-only set-up on Linux. Last, git is
told to format what is committed (.pre-commit-config.yaml).
"""

from __future__ import print_function

import os
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".venv")
PYTHON = os.path.join(VENV, "bin", "python")
LOCK = os.path.join(ROOT, "requirements.lock")
NEEDED_GB = 8
HEAVY = ("torch", "torchvision", "triton", "nvidia-", "cuda-")


def fail(message):
    sys.stderr.write("set-up: " + message + "\n")
    sys.exit(1)


def check():
    """Stop where the set-up cannot work."""
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        found = ".".join(map(str, sys.version_info[:3]))
        fail(
            "Python 3.11, 3.12 or 3.13 is needed, this is %s. "
            "Give another: make PYTHON=python3.12 ..." % found
        )
    if not os.access(ROOT, os.W_OK):
        fail(
            "%s cannot be written to: "
            "clone the repository into a folder of yours and run make there" % ROOT
        )
    free = shutil.disk_usage(ROOT).free / 1e9
    if not os.path.exists(PYTHON) and free < NEEDED_GB:
        fail("about %d GB of disk are needed in %s, %.1f GB are free" % (NEEDED_GB, ROOT, free))


def run(*command):
    """Run a command in the repository; stop where it fails."""
    if subprocess.call(command, cwd=ROOT) != 0:
        fail("this command failed, see above: " + " ".join(command))


def without_torch(lock):
    """The lock less torch and what only its CUDA build needs."""
    dropped = tuple(name if name.endswith("-") else name + "==" for name in HEAVY)
    kept = []
    keep = True
    for line in lock.splitlines():
        if line and not line[0].isspace():  # a package; its hashes follow, indented
            keep = not line.startswith(dropped)
        if keep:
            kept.append(line)
    return "\n".join(kept) + "\n"


def chosen_lock():
    """The lock to install: all of it, or the one that leaves the reader's own torch alone."""
    remembered = os.path.join(VENV, "requirements-own-torch.txt")
    if not os.environ.get("OWN_TORCH") and not os.path.exists(remembered):
        return LOCK
    if subprocess.call([PYTHON, "-c", "import torch, torchvision"]) != 0:
        fail(
            "the set-up keeps your torch (OWN_TORCH), but .venv has no working torch and "
            "torchvision: install both there first"
        )
    with open(LOCK) as stream:
        kept = without_torch(stream.read())
    with open(remembered, "w") as stream:
        stream.write(kept)
    return remembered


def install():
    """An environment that holds what the lock says, and this project."""
    if not os.path.exists(PYTHON):
        print("set-up, once: .venv from requirements.lock, 3 GB of downloads at most")
        sys.stdout.flush()
        run(sys.executable, "-m", "venv", VENV)
    uv = os.path.join(VENV, "bin", "uv")
    if not os.path.exists(uv):
        run(PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "uv")
    words = [uv, "pip", "install", "--quiet", "--python", PYTHON, "--no-deps"]
    run(*(words + ["--require-hashes", "-r", chosen_lock()]))
    run(*(words + ["-e", "."]))


def format_commits():
    """Let git format what is committed; where its hooks are kept elsewhere, nothing is done."""
    if not os.path.isdir(os.path.join(ROOT, ".git")):
        return
    words = [os.path.join(VENV, "bin", "pre-commit"), "install"]
    with open(os.devnull, "w") as nowhere:
        status = subprocess.call(words, cwd=ROOT, stdout=nowhere, stderr=nowhere)
    if status != 0:
        print(
            "set-up: commits are not formatted by themselves here (pre-commit install failed): "
            "use make format"
        )


def main():
    check()
    install()
    format_commits()
    open(os.path.join(VENV, ".ready"), "w").close()


if __name__ == "__main__":
    main()
