"""Gets the jars of Apache Kafka, once, with Maven: what a native broker runs on where there is no Docker.

`python -m accord.testing.kafka_jars` fetches them ahead of time and prints the folder they are in.
The folder is complete or absent: the jars arrive in a temporary one that takes its name at the end, so
processes that fetch at the same time do not disturb each other.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

KAFKA_VERSION = "4.1.1"

# Kafka logs through SLF4J 1.7 and leaves the choice of the binding to whoever runs it.
_LOG4J_VERSION = "2.24.3"
_COPY_DEPENDENCIES = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
_POM = f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>accord</groupId>
  <artifactId>kafka-jars</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>{KAFKA_VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId>
      <artifactId>log4j-slf4j-impl</artifactId>
      <version>{_LOG4J_VERSION}</version>
    </dependency>
  </dependencies>
</project>
"""


class KafkaUnavailable(RuntimeError):
    """No Kafka for the tests could be found or started; the text says what to install."""


def jars_directory() -> Path:
    """Returns where the jars belong: `ACCORD_KAFKA_CACHE`, else the user's cache, by Kafka's version."""
    configured = os.environ.get("ACCORD_KAFKA_CACHE")
    if configured:
        return Path(configured) / KAFKA_VERSION
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "accord" / "kafka" / KAFKA_VERSION


def fetch_jars() -> Path:
    """Returns the folder of Kafka's jars; the first call downloads them (43 MB).

    Raises:
        KafkaUnavailable: Maven is missing, or it could not get the jars.
    """
    directory = jars_directory()
    if directory.is_dir():
        return directory
    maven = shutil.which("mvn")
    if maven is None:
        raise KafkaUnavailable(
            f"Kafka's jars are not in {directory} and Maven (mvn) is not installed to fetch them. "
            "Run script/setup, or install Maven and a JDK 17."
        )
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=directory.parent) as temporary:
        _copy_dependencies(maven, Path(temporary))
        try:
            (Path(temporary) / "jars").rename(directory)
        except OSError:
            if not directory.is_dir():  # else another process was faster, and its jars are as good
                raise
    return directory


def _copy_dependencies(maven: str, project: Path) -> None:
    (project / "pom.xml").write_text(_POM)
    command = [maven, "-q", "-B", _COPY_DEPENDENCIES, f"-DoutputDirectory={project / 'jars'}"]
    run = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        raise KafkaUnavailable(f"Maven could not fetch Kafka {KAFKA_VERSION}:\n{run.stdout}{run.stderr}")


if __name__ == "__main__":
    print(fetch_jars())
