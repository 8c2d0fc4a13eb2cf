"""An embedded broker and worker for the tests of a module, and hubs on it."""

import itertools
from collections.abc import Callable, Iterator

import pytest
from accord.agents.client import Accord
from accord.agents.connection.connection import Connection
from accord.schemas.topics import topic_table

from accord.embedded import Embedded
from accord.kafka import producer
from accord.mock import PARTITIONS_DEFAULT, MockCluster
from accord.settings import Settings
from tests.agents.support import settings_for
from tests.counts import only_long

_numbers = itertools.count()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A module's `ANSWERS` are the sources of answers with which its clients are tested.

    What a test shows does not depend on the source, as a rule: then it meets the first source at once and the others in
    the long run only. Where it does, the test is marked `each_source`.
    """
    if "answers" in metafunc.fixturenames:
        first, *others = getattr(metafunc.module, "ANSWERS", ("events",))
        marks = () if metafunc.definition.get_closest_marker("each_source") else (only_long,)
        sources = [first, *[pytest.param(other, marks=marks) for other in others]]
        metafunc.parametrize("answers", sources, indirect=True, scope="module")


@pytest.fixture(scope="module")
def answers(request: pytest.FixtureRequest) -> str:
    """Where clients read their answers."""
    return str(request.param)


@pytest.fixture(scope="module")
def embedded(answers: str) -> Iterator[Embedded]:
    with Embedded(settings=Settings.load(client={"answers": answers})) as running:
        yield running


@pytest.fixture(scope="module")
def settings(embedded: Embedded) -> Settings:
    """The settings that find the embedded broker."""
    return embedded.settings


@pytest.fixture
def make_hub(embedded: Embedded) -> Callable[..., Accord]:
    """Makes a hub on the embedded broker: `make_hub("ada")`."""

    def make(agent: str, kind: type[Accord] = Accord) -> Accord:
        hub = kind(agent=agent)
        hub.use(embedded.settings, embedded.timestamp_ms)
        return hub

    return make


@pytest.fixture
def connect(embedded: Embedded) -> Iterator[Callable[..., Connection]]:
    """Opens a connection to the embedded broker; all are closed in the end."""
    made: list[Connection] = []

    def open_one(agent: str = "ada", settings: Settings | None = None) -> Connection:
        connection = Connection(settings or embedded.settings, agent=agent, timestamp_ms=embedded.timestamp_ms)
        made.append(connection)
        connection.open()
        return connection

    yield open_one
    for connection in made:
        connection.close()


@pytest.fixture(scope="module")
def bare_cluster() -> Iterator[MockCluster]:
    """A broker without a worker."""
    with MockCluster() as cluster:
        yield cluster


@pytest.fixture
def lonely(bare_cluster: MockCluster) -> Settings:
    """Settings for a broker with fresh topics and no worker; they do not wait long for one."""
    settings = settings_for(bare_cluster, f"t{next(_numbers)}")
    asker = producer(settings.kafka)
    for topic in topic_table(settings.topics.prefix, PARTITIONS_DEFAULT):
        asker.list_topics(topic.name, timeout=5)  # the mock cluster makes what a producer asks for
    return settings
