"""Runs the notebooks of the documentation, and compares what they show with what is kept.

``python .ci/notebooks.py`` fails if a cell raises, writes on standard error, or shows another
text. Numbers and ids that follow from trained weights differ between processors: the output of a
cell with the tag ``varies`` need only be of the same kind, and so need pictures. ``--write`` keeps
the new outputs.
"""

import argparse
import base64
import io
import os
import sys
import tempfile
import time
from difflib import unified_diff
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image
from traitlets.config import Config

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "notebooks"
#: Seconds that a cell may take on a busy machine.
PATIENCE = 600


def main() -> int:
    """Runs the notebooks that are named, or all; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*", type=Path, default=sorted(FOLDER.glob("*.ipynb")))
    parser.add_argument("--write", action="store_true", help="keep the new outputs")
    arguments = parser.parse_args()
    failed = 0
    for file in arguments.notebooks:
        started = time.perf_counter()
        kept = nbformat.read(file, as_version=4)
        new = executed(kept)
        problems = [*noise(new), *([] if arguments.write else differences(kept, new))]
        if arguments.write:
            nbformat.write(new, file)
        failed += bool(problems)
        print(
            f"{file.name}: {'FAILED' if problems else 'ok'}, {time.perf_counter() - started:.0f} s"
        )
        print(*problems, sep="\n", end="\n" if problems else "")
    return min(failed, 1)


def executed(notebook):
    """Returns the notebook with the outputs of a run in an empty folder, on one core."""
    new = nbformat.from_dict(notebook)
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **os.environ,
            "HOME": folder,
            "MPLCONFIGDIR": str(Path(tempfile.gettempdir()) / "matplotlib"),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT),
        }
        environment.pop("XDG_CACHE_HOME", None)
        work = Path(folder) / "work"
        work.mkdir()
        # Sockets in the folder: no port that another user could listen at.
        sockets = {"transport": "ipc", "ip": str(Path(folder) / "kernel")}
        client = NotebookClient(
            new,
            config=Config(KernelManager=sockets),
            resources={"metadata": {"path": str(work)}},
            startup_timeout=PATIENCE,
            timeout=PATIENCE,
        )
        client.execute(env=environment)
    for cell in new.cells:
        cell.metadata.pop("execution", None)  # times of day
        for output in cell.get("outputs", ()):
            if picture := output.get("data", {}).get("image/png"):
                output.data["image/png"] = small(picture)
    new.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}
    }
    return new


def small(picture: str) -> str:
    """Returns a PNG picture, in base64, with 64 colours: a third of its size."""
    file = io.BytesIO()
    image = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")
    image.quantize(64).save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def noise(notebook) -> list[str]:
    """Returns what cells wrote on standard error, and paths of this machine."""
    found = []
    for number, cell in code_cells(notebook):
        for kind, text in shown(cell):
            if kind == "stderr" or str(ROOT) in text or tempfile.gettempdir() in text:
                found.append(f"  cell {number} shows {kind}: {text[:500]}")
    return found


def differences(kept, new) -> list[str]:
    """Returns how the outputs differ, as lines of a diff."""
    found = []
    for (number, old), (_, cell) in zip(code_cells(kept), code_cells(new), strict=True):
        before, after = shown(old), shown(cell)
        if [kind for kind, _ in before] != [kind for kind, _ in after]:
            found.append(f"  cell {number}: outputs {before} have become {after}")
        elif "varies" not in cell.metadata.get("tags", ()):
            for (_, was), (_, now) in zip(before, after, strict=True):
                lines = unified_diff(was.splitlines(), now.splitlines(), lineterm="", n=0)
                found += [f"  cell {number}: {line}" for line in lines]
    return found


def code_cells(notebook) -> list:
    """Returns the code cells with their numbers, from 1."""
    return list(enumerate((c for c in notebook.cells if c.cell_type == "code"), start=1))


def shown(cell) -> list[tuple[str, str]]:
    """Returns a cell's outputs as kind and text; a picture has no text that could be compared.

    A stream is one output, in however many pieces its text came.
    """
    outputs = []
    for output in cell.outputs:
        if output.output_type == "stream":
            kind, text = output.name, output.text
            if outputs and outputs[-1][0] == kind:
                text = outputs.pop()[1] + text
            outputs.append((kind, text))
        elif "image/png" in output.data:
            outputs.append(("image/png", ""))
        else:
            outputs.append(("text/plain", output.data["text/plain"]))
    return outputs


if __name__ == "__main__":
    sys.exit(main())
