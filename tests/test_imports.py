"""What importing accord brings with it, and what an installation of it contains."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parent.parent
PACKAGED = {".py", ".avsc", ".json", ".typed", ".html", ".css", ".js"}


def test_a_client_does_not_load_faust() -> None:
    heavy = ["aiokafka", "faust", "mode", "rocksdict"]
    program = f"import sys, accord; print([name for name in {heavy} if name in sys.modules])"
    assert _python(program) == "[]"


def test_the_plugin_imports_nothing_of_accord_until_a_fixture_is_used() -> None:
    program = (
        "import sys, accord.testing.plugin\nprint(sorted(name for name in sys.modules if name.startswith('accord.')))"
    )
    assert _python(program) == "['accord.testing', 'accord.testing.plugin']"


def test_the_folder_agents_says_whom_it_hides() -> None:
    program = "try: import agents\nexcept ImportError as error: print(error)"
    assert "OpenAI Agents SDK" in _python(program)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with accord installed as a user installs it."""
    # From a copy: a build leaves files in its source, and packs what an earlier one left there.
    copy, target = (tmp_path_factory.mktemp(name) for name in ("source", "target"))
    unwanted = shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__")
    shutil.copytree(CHECKOUT, copy, dirs_exist_ok=True, ignore=unwanted)
    install = ["install", "--quiet", "--no-deps", "--no-build-isolation", "--target", str(target), str(copy)]
    run = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", *install],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return target


def test_an_installation_holds_every_file(installed: Path) -> None:
    mapping = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-dir"]
    expected = {
        Path(*package.split(".")) / file.relative_to(CHECKOUT / folder)
        for package, folder in mapping.items()
        for file in (CHECKOUT / folder).rglob("*")
        if file.suffix in PACKAGED
    }
    missing = sorted(str(path) for path in expected if not (installed / path).exists())
    assert not missing, f"not packaged (see [tool.setuptools] in pyproject.toml): {missing}"


def test_an_installation_works_inside_the_checkout(installed: Path) -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(installed)!r})\n"
        "import accord, accord.schemas.codec, accord.streams.partition\n"
        "print(accord.__file__, accord.schemas.codec.__file__, accord.streams.partition.__file__, sep='\\n')"
    )
    assert all(Path(file).is_relative_to(installed) for file in _python(program).splitlines())


def _python(program: str) -> str:
    run = subprocess.run([sys.executable, "-c", program], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()
