"""Unpacks what was fetched."""

import tarfile
from pathlib import Path


def extract(archive: tarfile.TarFile, folder: Path) -> None:
    """Unpack all of it below the folder, and nothing beside it: Pythons before 3.11.4 cannot be told so."""
    if hasattr(tarfile, "data_filter"):
        archive.extractall(folder, filter="data")
    else:
        archive.extractall(folder)
