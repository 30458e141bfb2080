"""Apache Kafka on this machine: one node, broker and controller in one process.

Everything is Kafka's own, so nothing needs to be declared as missing: records are on disk, and
producers, groups, transactions and admin calls are the real ones. Topics are not created here.
"""

import base64
import shutil
import socket
import struct
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from infra.local import jars
from infra.local.java import Java, find_java
from infra.local.process import HOST, LocalServer, ServerError, free_port

FORMAT_SECONDS = 60.0
REQUEST_SECONDS = 2.0
RESPONSE_BYTES_MAX = 1 << 20
TRAIN_STOP_SECONDS = 120.0

# One local node: nothing is replicated, and few threads serve few clients.
SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "auto.create.topics.enable": "false",
    "group.initial.rebalance.delay.ms": "0",
    # After a kill the controller waits this long before it lets the broker in again.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    # Records of 4 MB and what Kafka adds to them.
    "message.max.bytes": str((4 << 20) + (1 << 16)),
    "replica.fetch.max.bytes": str((4 << 20) + (1 << 16)),
    "log.segment.bytes": str(128 << 20),
    "num.network.threads": "2",
    "num.io.threads": "4",
    "background.threads": "2",
    "num.recovery.threads.per.data.dir": "2",
    # The default of 128 MB would be a third of the heap; little here is compacted.
    "log.cleaner.dedupe.buffer.size": str(4 << 20),
}
ENVIRONMENT = {"MALLOC_ARENA_MAX": "2"}
LOGGING = [
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSZ",
]


class KafkaServer(LocalServer):
    """Kafka with its log in one folder: durable over restarts and crashes."""

    name = "kafka"

    def __init__(
        self, folder: Path, port: int = 0, heap_mb: int = 384, cache: Path | None = None
    ) -> None:
        """Take a folder, a port (0 for any free one) and where Java archives are kept."""
        super().__init__(folder, port)
        self._heap_mb = heap_mb
        self._cache = cache or jars.cache_folder()
        self._training_file: Path | None = None

    @property
    def bootstrap(self) -> str:
        """Address for clients, host:port."""
        return f"{self.host}:{self.port}"

    @property
    def is_fetched(self) -> bool:
        """Whether all Java archives are on this machine."""
        return jars.are_there(jars.read_lock(), self._cache)

    @property
    def cluster_id(self) -> str:
        """Identity of the log, chosen when the folder was first used and kept.

        Raises:
            ServerError: the folder was never started.
        """
        try:
            lines = (self._data / "meta.properties").read_text().splitlines()
        except FileNotFoundError as error:
            raise ServerError(f"{self.folder} holds no Kafka data yet") from error
        return dict(line.split("=", 1) for line in lines if "=" in line)["cluster.id"]

    def train(self) -> None:
        """Record a cache of loaded classes, from which later starts take less than half the time.

        Takes about ten seconds, once for a machine; a Java that cannot is left alone.
        """
        if not self._java.makes_aot_caches or self._aot_cache.exists():
            return
        recorded = self._aot_cache.with_suffix(f".{uuid.uuid4().hex}")
        self._training_file = recorded
        try:
            self.start()
            self.stop(TRAIN_STOP_SECONDS)
            if recorded.exists():
                recorded.replace(self._aot_cache)
        finally:
            self._training_file = None
            recorded.unlink(missing_ok=True)

    @cached_property
    def _java(self) -> Java:
        return find_java()

    @cached_property
    def _class_path(self) -> str:
        return ":".join(map(str, jars.class_path(jars.read_lock(), self._cache)))

    @property
    def _aot_cache(self) -> Path:
        return self._cache / f"kafka-java-{self._java.version}.aot"

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _prepare(self) -> None:
        if (self._data / "meta.properties").exists():
            return
        if self._data.exists():
            raise ServerError(
                f"{self._data} is not a Kafka log (it has no meta.properties): choose another "
                f"folder, or delete it"
            )
        self._format()

    def _format(self) -> None:
        # Formatted beside its place: a start that was killed midway leaves nothing half made there.
        fresh = self.folder / "data-new"
        shutil.rmtree(fresh, ignore_errors=True)
        settings = self._write_settings(fresh, free_port())
        tool = ["kafka.tools.StorageTool", "format", "--standalone", "-t", new_cluster_id(), "-c"]
        done = subprocess.run(
            [*self._jvm(), *tool, str(settings)],
            capture_output=True,
            text=True,
            timeout=FORMAT_SECONDS,
        )
        if done.returncode != 0:
            raise ServerError(f"Kafka cannot format {fresh}:\n{done.stdout}{done.stderr}"[:3000])
        fresh.rename(self._data)

    def _command(self, port: int) -> tuple[Sequence[str], Mapping[str, str]]:
        settings = self._write_settings(self._data, port)
        return [*self._jvm(), *self._aot_options(), "kafka.Kafka", str(settings)], ENVIRONMENT

    def _jvm(self) -> list[str]:
        return [
            str(self._java.program),
            f"-Xmx{self._heap_mb}m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-XX:+ExitOnOutOfMemoryError",
            *self._java.quiet_options,
            *LOGGING,
            "-cp",
            self._class_path,
        ]

    def _aot_options(self) -> list[str]:
        quiet = ["-Xlog:disable", "-Xlog:all=error:stderr"]
        if self._training_file is not None:
            return [f"-XX:AOTCacheOutput={self._training_file}", *quiet]
        if self._java.makes_aot_caches and self._aot_cache.exists():
            # A cache that does not fit these archives is ignored by Java.
            return [f"-XX:AOTCache={self._aot_cache}", *quiet]
        return []

    def _write_settings(self, data: Path, port: int) -> Path:
        controller = free_port()
        listeners = f"PLAINTEXT://{HOST}:{port},CONTROLLER://{HOST}:{controller}"
        settings = {
            **SETTINGS,
            "listeners": listeners,
            "advertised.listeners": listeners,
            "controller.quorum.bootstrap.servers": f"{HOST}:{controller}",
            "log.dirs": str(data),
        }
        path = self.folder / "server.properties"
        path.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        return path

    def _answers(self) -> bool:
        """Whether this very cluster, and not another at the same port, has a live broker."""
        return ask_cluster(self.host, self.port) == self.cluster_id


def new_cluster_id() -> str:
    """A random id as Kafka writes them, in 22 characters, of which the first is no dash."""
    while (text := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()).startswith("-"):
        # The tool would take it for an option.
        pass
    return text.rstrip("=")


def ask_cluster(host: str, port: int) -> str | None:
    """Cluster id from a broker that has its controller, by one Metadata request (version 4).

    None while nothing answers so. Source: https://kafka.apache.org/protocol.html, Metadata.
    """
    client = b"streamgauge"
    header = struct.pack(f">hhih{len(client)}s", 3, 4, 1, len(client), client)
    request = header + struct.pack(">ib", 0, 0)
    try:
        with socket.create_connection((host, port), REQUEST_SECONDS) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            with connection.makefile("rb") as stream:
                (size,) = struct.unpack(">i", stream.read(4))
                response = stream.read(min(size, RESPONSE_BYTES_MAX))
        return _read_cluster(response)
    except (OSError, struct.error, UnicodeDecodeError):
        return None


def _read_cluster(response: bytes) -> str | None:
    """Cluster id of a Metadata response, None if it names no broker or no controller."""
    # Correlation id and throttle time stand before the brokers: id, host, port, rack.
    (brokers,), at = struct.unpack_from(">i", response, 8), 12
    for _ in range(min(brokers, len(response))):
        (host_length,) = struct.unpack_from(">h", response, at + 4)
        at += 4 + 2 + host_length + 4
        (rack_length,) = struct.unpack_from(">h", response, at)
        at += 2 + max(0, rack_length)
    (length,) = struct.unpack_from(">h", response, at)
    (controller,) = struct.unpack_from(">i", response, at + 2 + length)
    cluster_id = response[at + 2 : at + 2 + length].decode()
    return cluster_id if brokers > 0 and controller >= 0 else None
