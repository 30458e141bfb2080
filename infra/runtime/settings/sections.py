"""Every setting: its key, type, limits, default, unit and effect.

The text under a field is the operator's reference; `docs/settings.md` is made from it. Nothing
is read or connected here.
"""

from typing import Annotated, Literal

from msgspec import Meta, field

from infra.runtime.settings.notify import NotifySettings
from infra.runtime.settings.values import (
    Addresses,
    AtLeast1,
    DatabaseName,
    KafkaInstance,
    KafkaName,
    Port,
    RestUrl,
    Secret,
    Section,
    Text,
    TopicPrefix,
    WebSocketUrl,
)


class KafkaSettings(Section, frozen=True, kw_only=True):
    """How every process reaches Kafka."""

    bootstrap: Addresses = "127.0.0.1:9092"
    """Brokers to ask first; any one of them names the others."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """Encryption and login. The two with SASL need `sasl_username` and `sasl_password`."""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    """How the login is proved; used with a SASL `security_protocol` only."""
    sasl_username: str = ""
    """Name to log in with."""
    sasl_password: Secret = Secret()
    """Password to log in with."""
    tls_ca_file: str = ""
    """Path of a PEM file with the authorities to trust; empty: those of the system."""
    tls_cert_file: str = ""
    """Path of a PEM file with the client's certificate; empty: no client certificate."""
    tls_key_file: str = ""
    """Path of a PEM file with the key of `tls_cert_file`; empty: the key is in that file."""
    tls_key_password: Secret = Secret()
    """Password of the key, where it has one."""
    request_timeout_ms: Annotated[int, Meta(ge=1_000, le=600_000)] = 30_000
    """Longest wait for one answer of a broker, ms."""


class ClickHouseSettings(Section, frozen=True, kw_only=True):
    """How every process reaches ClickHouse, over HTTP."""

    host: Text = "127.0.0.1"
    """Name or address of the server."""
    port: Port = 8123
    """HTTP port of the server; 8443 is usual with `secure`."""
    user: Text = "default"
    """Name to log in with."""
    password: Secret = Secret()
    """Password to log in with."""
    database: DatabaseName = "streamgauge"
    """Database that holds all tables; `streamgauge migrate` makes it."""
    secure: bool = False
    """HTTPS instead of HTTP."""
    tls_ca_file: str = ""
    """Path of a PEM file with the authorities to trust; empty: those of the system."""
    connect_timeout_s: Annotated[int, Meta(ge=1, le=600)] = 5
    """Longest wait for a connection, s."""
    query_timeout_s: Annotated[int, Meta(ge=1, le=86_400)] = 300
    """Longest wait for the answer to a query, s. Inserts have `sink.insert_timeout_s`."""


class TopicSettings(Section, frozen=True, kw_only=True):
    """Topics that `streamgauge topics` makes.

    Partitions can be added later, never removed; adding some moves shards to other partitions, so
    do it while producers are stopped and processors have read everything.
    """

    prefix: TopicPrefix = ""
    """Put before the name of every topic, so that several pipelines can share a broker."""
    replication_factor: Annotated[int, Meta(ge=1, le=100)] = 1
    """Copies of every partition; 3 is usual on a cluster."""
    raw_partitions: Annotated[int, Meta(ge=1, le=10_000)] = 4
    """Partitions of each raw topic: the most processor workers that can share one exchange."""
    event_partitions: Annotated[int, Meta(ge=1, le=10_000)] = 4
    """Partitions of each event topic: the most sink workers that can share one kind of event."""
    raw_retention_hours: AtLeast1 = 72
    """How long raw frames are kept, h. Replay reaches back this far."""
    event_retention_hours: AtLeast1 = 72
    """How long events are kept, h. ClickHouse may be away for this long without loss."""
    max_message_bytes: Annotated[int, Meta(ge=65_536, le=1_073_741_824)] = 8_388_608
    """Largest record that the broker takes, bytes. Large snapshots are one record."""


class ExchangeSettings(Section, frozen=True, kw_only=True):
    """One exchange, in a table of its own: `[exchanges.kraken]`.

    The names are `binance` (spot), `deribit` and `kraken`, which the simulator speaks, too, and
    `binance_usdm`, `kraken_futures` and `kraken_v1`, which are tested with transcripts only.
    """

    enabled: bool = True
    """Whether producers connect to it."""
    websocket_url: WebSocketUrl = ""
    """Address of its WebSocket; empty: the exchange's own public address."""
    rest_url: RestUrl = ""
    """Address of its REST interface; empty: the exchange's own public address."""
    symbols: tuple[Text, ...] = ()
    """Instruments to subscribe to, as the exchange spells them."""
    symbols_per_shard: Annotated[int, Meta(ge=1, le=1_000)] = 20
    """Instruments that share one socket."""
    book_depth: Annotated[int, Meta(ge=0, le=100_000)] = 0
    """Levels a side to subscribe to, or the next depth that the exchange offers; 0: 25 levels."""
    connections_max: Annotated[int, Meta(ge=1, le=10_000)] = 30
    """Most sockets to it at once. A plan that needs more is refused before anything connects."""
    connects_per_minute: Annotated[int, Meta(ge=1, le=10_000)] = 15
    """New sockets to it a minute in the long run; ten may be opened at once."""


class ProducerSettings(Section, frozen=True, kw_only=True):
    """From the exchange's socket to an acknowledged Kafka record."""

    lines: Annotated[int, Meta(ge=1, le=2)] = 1
    """Sockets that carry every shard; 2 measures each against the other."""
    batch_frames: Annotated[int, Meta(ge=1, le=10_000)] = 100
    """Most frames of one connection in a Kafka record, frames."""
    batch_age_ms: Annotated[int, Meta(ge=0, le=10_000)] = 100
    """Longest time a frame waits for its record to fill, ms."""
    batch_bytes: Annotated[int, Meta(ge=1_024, le=67_108_864)] = 524_288
    """Payload that closes a record early, bytes."""
    queue_frames: Annotated[int, Meta(ge=1, le=10_000_000)] = 20_000
    """Frames of one connection that may wait for Kafka. When full, the socket is read slower."""
    queue_bytes: Annotated[int, Meta(ge=65_536, le=1_073_741_824)] = 33_554_432
    """Records of one connection that may wait for Kafka, bytes; at the limit as `queue_frames`."""
    frame_bytes_max: Annotated[int, Meta(ge=1_024, le=268_435_456)] = 4_194_304
    """Largest frame taken from an exchange, bytes. A larger one is a fault and a reconnect."""
    linger_ms: Annotated[int, Meta(ge=0, le=1_000)] = 2
    """How long records of a partition wait to be sent together, ms."""
    websocket_compression: bool = False
    """Whether to ask exchanges to compress messages: less traffic, and more work to read them."""
    compression: Literal["none", "gzip", "lz4", "zstd"] = "lz4"
    """Compression of records on the wire and on the broker's disk."""
    connect_timeout_ms: Annotated[int, Meta(ge=100, le=600_000)] = 10_000
    """Longest wait for a socket to open, ms."""
    request_timeout_ms: Annotated[int, Meta(ge=100, le=600_000)] = 10_000
    """Longest wait for the answer to a REST or socket request, ms."""
    ping_interval_ms: Annotated[int, Meta(ge=1_000, le=600_000)] = 3_000
    """How often the round trip to an exchange is measured and its clock read, ms. A rise of the
    latency is told from a clock that was set by the next answer."""
    silence_timeout_ms: Annotated[int, Meta(ge=0, le=3_600_000)] = 0
    """A socket without a frame for this long is reopened, ms; 0: what is normal at the exchange."""
    backoff_initial_ms: Annotated[int, Meta(ge=1, le=600_000)] = 500
    """Upper limit of the random wait before the first reconnect, ms; it doubles each time."""
    backoff_cap_ms: Annotated[int, Meta(ge=1, le=3_600_000)] = 30_000
    """Upper limit that doubling stops at, ms."""
    backoff_reset_ms: Annotated[int, Meta(ge=0, le=86_400_000)] = 60_000
    """A socket that stays open this long resets the doubling, ms."""
    snapshot_interval_s: Annotated[int, Meta(ge=1, le=86_400)] = 60
    """Each book is compared with a fresh snapshot this often, s, spread evenly over the books.
    `processor.warmup_s` must be more than twice this and 30 more."""
    tick_interval_ms: Annotated[int, Meta(ge=100, le=60_000)] = 1_000
    """How often the time is written into the raw log, ms. Silence is measured by it."""
    close_timeout_ms: Annotated[int, Meta(ge=100, le=600_000)] = 10_000
    """Longest time to close sockets and flush records at the end, ms."""


class ProcessorSettings(Section, frozen=True, kw_only=True):
    """From raw frames to events, in Faust workers."""

    app_id: KafkaName = "streamgauge"
    """Faust's application id: workers that share it share the partitions."""
    book_levels: Annotated[int, Meta(ge=1, le=10_000)] = 25
    """Levels a side in a published book. All books of one socket, as often as they are
    sampled in `producer.batch_age_ms`, must fit into one record of `topics.max_message_bytes`: 32
    bytes a level and up to 1536 a book."""
    book_interval_ms: Annotated[int, Meta(ge=10, le=3_600_000)] = 1_000
    """How often each live book is published, ms of the raw log's own time."""
    instance_id: KafkaInstance = ""
    """Name of this worker, kept over restarts and different for each: a worker that comes back
    within the session timeout has its partitions at once. Empty: Kafka names it anew each time."""
    warmup_s: Annotated[int, Meta(ge=3, le=86_400)] = 180
    """How far back a worker re-reads the raw log before it continues, s. More than twice
    `producer.snapshot_interval_s` and 30 more, so that every book finds a snapshot and an audit of
    it, and every stream a checkpoint after that of what it remembers from before."""
    web_host: Text = "127.0.0.1"
    """Address that Faust's own pages listen on."""
    web_port: Annotated[int, Meta(ge=-1, le=65_535)] = -1
    """Port of Faust's own pages; 0: any free port; -1: no pages."""
    commit_interval_ms: Annotated[int, Meta(ge=100, le=60_000)] = 1_000
    """How often progress is committed, ms."""
    session_timeout_ms: Annotated[int, Meta(ge=1_000, le=600_000)] = 15_000
    """A worker that is silent for this long loses its partitions, ms."""
    stalled_after_s: Annotated[int, Meta(ge=1, le=86_400)] = 60
    """A worker with work that commits nothing for this long fails its `/live` check, s."""


class SinkSettings(Section, frozen=True, kw_only=True):
    """From events to rows in ClickHouse."""

    group: KafkaName = "streamgauge-sink"
    """Kafka consumer group: workers that share it share the partitions."""
    instance_id: KafkaInstance = ""
    """Name of this worker, kept over restarts and different for each: a worker that comes back
    within the session timeout has its partitions at once. Empty: Kafka names it anew each time."""
    block_rows: Annotated[int, Meta(ge=1, le=10_000_000)] = 25_000
    """Rows that close a block, rows."""
    block_age_ms: Annotated[int, Meta(ge=1, le=600_000)] = 1000
    """Age of its first record that closes a block, ms."""
    block_bytes: Annotated[int, Meta(ge=1_024, le=1_073_741_824)] = 2_097_152
    """Record bytes that close a block, bytes."""
    queue_blocks: Annotated[int, Meta(ge=1, le=1_000)] = 6
    """Times `block_rows`, and times `block_bytes`, that one worker may hold in memory, all
    partitions together. When full, Kafka is not read."""
    retry_initial_ms: Annotated[int, Meta(ge=1, le=600_000)] = 200
    """Upper limit of the random wait before an insert is tried again, ms; it doubles each time."""
    retry_cap_ms: Annotated[int, Meta(ge=1, le=3_600_000)] = 10_000
    """Upper limit that doubling stops at, ms."""
    insert_timeout_s: Annotated[int, Meta(ge=1, le=3_600)] = 60
    """Longest wait for one insert, s; then it is sent again with the same token."""
    inserts: Annotated[int, Meta(ge=1, le=64)] = 4
    """Inserts that may be under way at once, each of another partition."""
    session_timeout_ms: Annotated[int, Meta(ge=1_000, le=600_000)] = 15_000
    """A worker that is silent for this long loses its partitions, ms."""
    stalled_after_s: Annotated[int, Meta(ge=1, le=86_400)] = 60
    """A worker with work that stores nothing for this long, and knows no reason, reports itself
    dead, s."""
    stop_timeout_ms: Annotated[int, Meta(ge=100, le=600_000)] = 10_000
    """Longest time to store what is gathered at the end, ms. What is left over is stored by
    whoever comes next."""


class RuntimeSettings(Section, frozen=True, kw_only=True):
    """Logs and health of every process."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe event that is logged."""
    log_format: Literal["auto", "console", "json"] = "auto"
    """`auto` is `console` on a terminal and `json`, a line for each event, everywhere else."""
    health_host: Text = "127.0.0.1"
    """Address that `/live`, `/ready` and `/metrics` listen on."""
    health_port: Annotated[int, Meta(ge=-1, le=65_535)] = 0
    """Port of `/live`, `/ready` and `/metrics`; 0: any free port (it is logged); -1: none."""


class Settings(Section, frozen=True, kw_only=True):
    """All settings of one process."""

    kafka: KafkaSettings = KafkaSettings()
    clickhouse: ClickHouseSettings = ClickHouseSettings()
    topics: TopicSettings = TopicSettings()
    exchanges: dict[str, ExchangeSettings] = field(default_factory=dict)
    producer: ProducerSettings = ProducerSettings()
    processor: ProcessorSettings = ProcessorSettings()
    sink: SinkSettings = SinkSettings()
    notify: NotifySettings = NotifySettings()
    runtime: RuntimeSettings = RuntimeSettings()
