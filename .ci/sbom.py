"""Prints the software bill of materials of this environment: CycloneDX 1.5, as JSON."""

import json
from importlib.metadata import distribution, distributions


def component(package) -> dict:
    """Returns CycloneDX's description of an installed package."""
    name, version = package.metadata["Name"], package.version
    purl = f"pkg:pypi/{name.lower().replace('_', '-')}@{version}"
    kind = {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
    text = package.metadata.get("License-Expression") or package.metadata.get("License")
    if text and "\n" not in text:
        kind["licenses"] = [{"license": {"name": text}}]
    return kind


def bill() -> dict:
    """Returns the bill: this package, and every other package that is installed beside it."""
    own = component(distribution("recbole-hill"))
    parts = {part["bom-ref"]: part for part in map(component, distributions())}
    del parts[own["bom-ref"]]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {**own, "type": "application"}},
        "components": [parts[key] for key in sorted(parts)],
    }


if __name__ == "__main__":
    print(json.dumps(bill(), indent=1))
