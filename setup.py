"""Packaging: `properties/` and `tuning/` stay at the top of the checkout, and ship inside."""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent
INIT = (HERE / "recbole_hill" / "__init__.py").read_text(encoding="utf-8")
README = HERE / "README.md"

BASELINES = ["gensim"]  # DeepWalk, Node2Vec, Item2Vec
DOCS = ["mkdocs-material", "mkdocstrings[python]"]
ENERGY = ["codecarbon"]
MLFLOW = ["mlflow-skinny"]  # the client, without the server
NOTEBOOKS = ["ipykernel", "matplotlib", "nbclient"]
PLOTS = ["matplotlib"]
TUNE = ["ray[tune]"]
WANDB = ["wandb"]
# torch-geometric: a reference for APPNP and GAT
TEST = ["build", "pytest", "pytest-xdist", "ruff", "torch-geometric"]


class BuildWithFolders(build_py):
    """Copies the folders beside the package into it; an editable install reads them in place."""

    def run(self):
        super().run()
        for folder in () if self.editable_mode else ("properties", "tuning"):
            inside = Path(self.build_lib, "recbole_hill", folder)
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(HERE / folder, inside, ignore=ignored, dirs_exist_ok=True)


setup(
    name="recbole-hill",
    version=re.search(r'^__version__ = "(.+)"$', INIT, re.MULTILINE)[1],
    description="Hierarchical-index retrieval (HILL) with test-time training, for RecBole",
    long_description=README.read_text(encoding="utf-8") if README.is_file() else "",
    long_description_content_type="text/markdown",
    license="MIT",
    license_files=["LICENSE"],
    python_requires=">=3.10",
    packages=find_packages(include=["recbole_hill", "recbole_hill.*"]),
    # With this line alone, an editable install puts the checkout on the import path. Otherwise it
    # installs an import hook, and a program beside a clone's folder `recbole_hill` imports that.
    package_dir={"": "."},
    package_data={"recbole_hill": ["*.pyi"]},
    cmdclass={"build_py": BuildWithFolders},
    install_requires=[
        "faiss-cpu",
        "filelock>=3.30",  # the first with lock_descriptor
        "jsonschema",
        "kmeans-pytorch",  # RecBole 1.2 imports it with its general models, yet does not require it
        "markupsafe",
        "numpy",
        "pandas<3",  # RecBole fills missing values by chained assignment, a no-op in pandas 3
        "psutil",
        "pyarrow",
        "pyyaml",
        "recbole>=1.2.0,<1.3",
        "safetensors",
        "scipy",
        "torch>=2.1",
        "tqdm",
    ],
    extras_require={
        "baselines": BASELINES,
        "docs": DOCS,
        "energy": ENERGY,
        "mlflow": MLFLOW,
        "notebooks": NOTEBOOKS,
        "plots": PLOTS,
        "tune": TUNE,
        "wandb": WANDB,
        "test": [*BASELINES, *PLOTS, *TUNE, *TEST],
        "all": sorted({*BASELINES, *DOCS, *NOTEBOOKS, *PLOTS, *TUNE, *TEST}),
    },
    entry_points={"console_scripts": ["recbole-hill = recbole_hill.cli:main"]},
)
