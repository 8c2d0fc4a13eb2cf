"""Lays the package out as it installs, in links: for tools that cannot follow an editable install.

Our folders lie at the top of the checkout and install under one import name (`package-dir` in
pyproject.toml). mypy and import-linter look for `accord/` with its parts inside it; this makes such a folder
in the directory given. Links cost nothing and are never out of date.
"""

import shutil
import sys
import tomllib
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent


def main(target: Path) -> None:
    mapping: dict[str, str] = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["setuptools"][
        "package-dir"
    ]
    if target.exists():
        shutil.rmtree(target)
    for package in sorted(mapping):  # a parent comes before its children
        source = CHECKOUT / mapping[package]
        folder = target.joinpath(*package.split("."))
        if "." in package:
            folder.symlink_to(source)
            continue
        folder.mkdir(parents=True)
        for entry in source.iterdir():
            (folder / entry.name).symlink_to(entry)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
