"""What a release has beside its code: pinned files by hash, and a bill of materials."""

import json
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PINNED = re.compile(r"^([\w.-]+)==(\S+)", re.MULTILINE)


def pins(name: str) -> dict[str, str]:
    text = (ROOT / name).read_text(encoding="utf-8")
    return {found.lower().replace("_", "-"): of for found, of in PINNED.findall(text)}


def test_the_same_versions_are_pinned_with_hashes():
    assert pins("constraints-hashes.txt") == pins("constraints.txt")
    text = (ROOT / "constraints-hashes.txt").read_text(encoding="utf-8")
    blocks = re.split(r"^(?=\w)", text, flags=re.MULTILINE)[1:]
    assert len(blocks) == len(pins("constraints.txt"))
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}\b", block) for block in blocks)


def test_the_bill_lists_what_is_installed():
    try:
        version("recbole-hill")
    except ImportError:
        pytest.skip("recbole-hill is not installed here, only on the import path")
    command = [sys.executable, str(ROOT / ".ci" / "sbom.py")]
    bill = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    assert bill["metadata"]["component"]["name"] == "recbole-hill"
    listed = {part["purl"] for part in bill["components"]}
    for name in ("torch", "recbole", "numpy", "safetensors"):
        assert f"pkg:pypi/{name}@{version(name)}" in listed
    assert not any("recbole-hill" in purl for purl in listed)
