"""A second Kafka broker: while it is away, the first one says that its partitions have no leader.

A cluster of one cannot say so. aiokafka gives a batch up only while it knows of no leader; to a
leader that does not answer it sends for ever.
"""

import subprocess
from collections.abc import Mapping
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from infra.local.kafka import FORMAT_SECONDS, SETTINGS, KafkaServer
from infra.local.process import HOST

NODE = 2
_QUORUM = "controller.quorum.bootstrap.servers"


class SecondBroker(KafkaServer):
    """A broker without a controller, in the cluster of one that runs."""

    def __init__(self, folder: Path, first: KafkaServer) -> None:
        super().__init__(folder)
        self._first = first

    @property
    def cluster_id(self) -> str:
        return self._first.cluster_id

    def _format(self) -> None:
        settings = self._write_settings(self._data, self.port)
        tool = ["kafka.tools.StorageTool", "format", "-t", self.cluster_id, "-c", str(settings)]
        subprocess.run([*self._jvm(), *tool], check=True, timeout=FORMAT_SECONDS)

    def _write_settings(self, data: Path, port: int) -> Path:
        listener = f"PLAINTEXT://{HOST}:{port}"
        settings: Mapping[str, str] = {
            **SETTINGS,
            "process.roles": "broker",
            "node.id": str(NODE),
            "listeners": listener,
            "advertised.listeners": listener,
            _QUORUM: self._controller(),
            "log.dirs": str(data),
        }
        path = self.folder / "server.properties"
        path.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        return path

    def _controller(self) -> str:
        lines = (self._first.folder / "server.properties").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)[_QUORUM]


async def make_topic(bootstrap: str, topic: str, partitions: int) -> None:
    """Make a topic whose partitions are all led by the second broker."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        leaders = {partition: [NODE] for partition in range(partitions)}
        # Kafka takes counts from the assignment, and wants -1 for both beside one.
        await admin.create_topics([NewTopic(topic, -1, -1, replica_assignments=leaders)])
    finally:
        await admin.close()
