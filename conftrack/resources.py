"""Finds the folders that stand beside the package in a checkout and inside it in a wheel (`sql`, `dashboards`)."""

from __future__ import annotations

from importlib import resources
from pathlib import Path


def folder(name: str) -> Path:
    """The folder `name`, of the installed wheel or else of the checkout."""
    packaged = Path(str(resources.files("conftrack"))) / name
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[1] / name
