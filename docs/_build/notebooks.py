"""The pages of the notebooks: text, code and kept outputs as Markdown. Nothing is run."""

import base64
import json
import re
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
#: What a table of pandas has beside itself: its style, and line ends, which would end the HTML.
_STYLE_OR_LINE = re.compile(r"<style.*?</style>|\n\s*", re.DOTALL)
#: Names of the pages, in the order of the navigation.
NAMES = (
    "first-run",
    "own-data",
    "compare-models",
    "index-tree",
    "test-time-training",
    "other-libraries",
)


def pages() -> dict[str, str | bytes]:
    """Returns each notebook's page, and its pictures, by their address on the site."""
    made: dict[str, str | bytes] = {}
    for name in NAMES:
        cells = json.loads((FOLDER / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
        parts, pictures = [], []
        for cell in cells:
            source = "".join(cell["source"])
            if cell["cell_type"] == "markdown":
                parts.append(source.replace(".ipynb)", ".md)"))
            else:
                parts.append(f"```python\n{source}\n```")
                for output in cell["outputs"]:
                    parts.append(_shown(output, name, pictures))
        parts.append(f"[This page as a notebook]({name}.ipynb)")
        made[f"notebooks/{name}.md"] = "\n\n".join(parts) + "\n"
        for number, picture in enumerate(pictures, start=1):
            made[f"notebooks/{name}-{number}.png"] = picture
    return made


def _shown(output: dict, name: str, pictures: list[bytes]) -> str:
    """Returns an output as Markdown; a picture is put into the list."""
    data = output.get("data", {})
    if "image/png" in data:
        pictures.append(base64.b64decode(data["image/png"]))
        return f"![Picture of the cell above]({name}-{len(pictures)}.png)"
    html = "".join(data.get("text/html", ""))
    if "<table" in html:
        return f"<div>{_STYLE_OR_LINE.sub('', html)}</div>"
    text = "".join(output["text"] if output["output_type"] == "stream" else data["text/plain"])
    return f"```text\n{text.rstrip()}\n```"
