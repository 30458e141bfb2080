"""Commits of many partitions as few requests.

A commit is the sink's write-ahead record: its offset says what is stored, its metadata what is
about to be. While one request is under way, further commits gather for the next one.
"""

import asyncio
from typing import Any

from aiokafka import AIOKafkaConsumer, OffsetAndMetadata, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError

from core.blocks import Announcement


class RevokedError(Exception):
    """The partition belongs to somebody else now: nothing more may be begun for it."""


class Committer:
    """Commits for the members' assigned partitions only."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self._waiting: dict[TopicPartition, tuple[int, Announcement, asyncio.Future[None]]] = {}
        self._task: asyncio.Task[None] | None = None

    async def commit(self, partition: Any, offset: int, announcement: Announcement) -> None:
        """Return when Kafka has made this durable.

        Raises:
            RevokedError: the group has given the partition to another member.
            KafkaError: Kafka refuses for another reason that will not pass.
        """
        assert partition not in self._waiting, "one commit of a partition at a time"
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[partition] = offset, announcement, done
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        await done

    async def _run(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, {}
            # Nothing is awaited between this look and the client's own, so none can be refused
            # for another one's sake.
            assigned = self._consumer.assignment()
            offsets = {}
            for partition, (offset, announcement, done) in batch.items():
                if done.cancelled():
                    continue
                if partition in assigned:
                    offsets[partition] = OffsetAndMetadata(offset, announcement.text())
                else:
                    done.set_exception(RevokedError(f"{partition} is not assigned"))
            error = await self._commit(offsets) if offsets else None
            for _, _, done in batch.values():
                if done.done():
                    continue
                if error is None:
                    done.set_result(None)
                else:
                    done.set_exception(error)

    async def _commit(self, offsets: dict[TopicPartition, OffsetAndMetadata]) -> Exception | None:
        try:
            await self._consumer.commit(offsets)
        except (CommitFailedError, IllegalStateError) as error:
            return RevokedError(str(error))
        except Exception as error:  # noqa: BLE001 - it is raised where the commit is awaited
            return error
        return None
