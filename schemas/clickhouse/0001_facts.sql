-- Tables of facts: one row per trade, sampled book, fault and stream second.
-- Every insert is a block with a deduplication token, hence the deduplication window.

CREATE TABLE trades
(
    exchange      LowCardinality(String)  COMMENT 'Name of the exchange.',
    shard         LowCardinality(String)  COMMENT 'Planned connection that carried the frame.',
    line          LowCardinality(String)  COMMENT 'A or B: which socket of the shard.',
    epoch         Int64                   COMMENT 'Opening time of that socket, ns since the epoch, UTC.',
    number        Int64                   COMMENT 'Counter of the frame inside its epoch.',
    idx           Int32                   COMMENT 'Index of the fact inside its frame.',
    raw_partition Int32                   COMMENT 'Partition of the raw record on raw.<exchange>.',
    raw_offset    Int64                   COMMENT 'Offset of the raw record on raw.<exchange>.',
    log_id        LowCardinality(String)  COMMENT 'Identity of the Kafka log: cluster id and topic id.',
    topic         LowCardinality(String)  COMMENT 'Event topic the row was read from.',
    partition     Int32                   COMMENT 'Partition of that topic.',
    offset        Int64                   COMMENT 'Offset in that partition.',
    row           Int32                   COMMENT 'Index of the fact inside that record.',
    symbol           LowCardinality(String)   COMMENT 'Spelling of the venue itself.',
    trade_id         String                   COMMENT 'Identity given by the venue, empty where it has none.',
    sequence         Nullable(Int64)          COMMENT 'Contiguous counter of the venue, null where it has none.',
    price            Decimal(38, 18)          COMMENT 'Exact price.',
    size             Decimal(38, 18)          COMMENT 'Exact size in the unit of the venue.',
    side             Enum8('buy' = 1, 'sell' = 2) COMMENT 'Side of the aggressor.',
    ts_event         DateTime64(9, 'UTC')     COMMENT 'Time stated by the exchange.',
    ts_recv          DateTime64(9, 'UTC')     COMMENT 'Time of the socket read.',
    quality          UInt16                   COMMENT 'Quality flags, 0 for none: 1 unverified, 2 after gap, 4 out of order, 8 clock skewed, 16 shallow.',
    ts_stored        DateTime64(9, 'UTC') DEFAULT now64(9) COMMENT 'When ClickHouse stored the row.'
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(ts_recv)
ORDER BY (exchange, symbol, ts_event, epoch, number, idx)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'One row per execution.';

CREATE TABLE books
(
    exchange      LowCardinality(String)  COMMENT 'Name of the exchange.',
    shard         LowCardinality(String)  COMMENT 'Planned connection that carried the frame.',
    line          LowCardinality(String)  COMMENT 'A or B: which socket of the shard.',
    epoch         Int64                   COMMENT 'Opening time of that socket, ns since the epoch, UTC.',
    number        Int64                   COMMENT 'Counter of the frame inside its epoch.',
    idx           Int32                   COMMENT 'Index of the fact inside its frame.',
    raw_partition Int32                   COMMENT 'Partition of the raw record on raw.<exchange>.',
    raw_offset    Int64                   COMMENT 'Offset of the raw record on raw.<exchange>.',
    log_id        LowCardinality(String)  COMMENT 'Identity of the Kafka log: cluster id and topic id.',
    topic         LowCardinality(String)  COMMENT 'Event topic the row was read from.',
    partition     Int32                   COMMENT 'Partition of that topic.',
    offset        Int64                   COMMENT 'Offset in that partition.',
    row           Int32                   COMMENT 'Index of the fact inside that record.',
    symbol           LowCardinality(String)   COMMENT 'Spelling of the venue itself.',
    sequence         Nullable(Int64)          COMMENT 'Id of this state given by the venue, null where it has none.',
    ts_event         Nullable(DateTime64(9, 'UTC')) COMMENT 'Time stated by the exchange for the last applied change, null where only a snapshot without a time was seen.',
    ts_recv          DateTime64(9, 'UTC')     COMMENT 'Time of the socket read of the last applied change.',
    ts_sample        DateTime64(9, 'UTC')     COMMENT 'Tick that took the sample.',
    quality          UInt16                   COMMENT 'Quality flags, 0 for none: 1 unverified, 2 after gap, 4 out of order, 8 clock skewed, 16 shallow.',
    bid_prices       Array(Decimal(38, 18))   COMMENT 'Best first.',
    bid_sizes        Array(Decimal(38, 18))   COMMENT 'Sizes at bid_prices.',
    ask_prices       Array(Decimal(38, 18))   COMMENT 'Best first.',
    ask_sizes        Array(Decimal(38, 18))   COMMENT 'Sizes at ask_prices.',
    digest           UInt32                   COMMENT 'CRC-32 of the canonical text of these levels.',
    ts_stored        DateTime64(9, 'UTC') DEFAULT now64(9) COMMENT 'When ClickHouse stored the row.'
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(ts_recv)
ORDER BY (exchange, symbol, ts_sample, epoch, number, idx)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Sampled tops of live books.';

CREATE TABLE faults
(
    exchange      LowCardinality(String)  COMMENT 'Name of the exchange.',
    shard         LowCardinality(String)  COMMENT 'Planned connection that carried the frame.',
    line          LowCardinality(String)  COMMENT 'A or B: which socket of the shard.',
    epoch         Int64                   COMMENT 'Opening time of that socket, ns since the epoch, UTC.',
    number        Int64                   COMMENT 'Counter of the frame inside its epoch.',
    idx           Int32                   COMMENT 'Index of the fact inside its frame.',
    raw_partition Int32                   COMMENT 'Partition of the raw record on raw.<exchange>.',
    raw_offset    Int64                   COMMENT 'Offset of the raw record on raw.<exchange>.',
    log_id        LowCardinality(String)  COMMENT 'Identity of the Kafka log: cluster id and topic id.',
    topic         LowCardinality(String)  COMMENT 'Event topic the row was read from.',
    partition     Int32                   COMMENT 'Partition of that topic.',
    offset        Int64                   COMMENT 'Offset in that partition.',
    row           Int32                   COMMENT 'Index of the fact inside that record.',
    kind             Enum16('sequence_gap' = 1, 'checksum_mismatch' = 2, 'crossed_book' = 3, 'audit_mismatch' = 4, 'trade_gap' = 5, 'decode_error' = 6, 'unknown_symbol' = 7, 'subscription_rejected' = 8, 'exchange_error' = 9, 'disconnected' = 10, 'connect_failed' = 11, 'request_failed' = 12, 'frames_lost' = 13, 'chain_broken' = 14, 'frames_dropped' = 15, 'buffer_overflow' = 16, 'snapshot_too_old' = 17, 'unrepresentable' = 18, 'unexpected_binary' = 19, 'maintenance' = 20) COMMENT 'What was wrong.',
    symbol           LowCardinality(String)   COMMENT 'Spelling of the venue, empty for the whole connection.',
    channel          LowCardinality(String)   COMMENT 'book, trades or connection.',
    expected         String                   COMMENT 'What would have been right.',
    found            String                   COMMENT 'What was there instead.',
    count            Nullable(Int64)          COMMENT 'Size of the loss in unit, null where the venue cannot tell.',
    unit             LowCardinality(String)   COMMENT 'trades, update_ids, frames, or empty.',
    ts_recv          DateTime64(9, 'UTC')     COMMENT 'Receive time of the frame that shows it.',
    ts_stored        DateTime64(9, 'UTC') DEFAULT now64(9) COMMENT 'When ClickHouse stored the row.'
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(ts_recv)
ORDER BY (exchange, ts_recv, symbol, epoch, number, idx)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Recorded facts about bad data.';

CREATE TABLE stability_1s
(
    exchange      LowCardinality(String)  COMMENT 'Name of the exchange.',
    shard         LowCardinality(String)  COMMENT 'Planned connection that carried the frame.',
    line          LowCardinality(String)  COMMENT 'A or B: which socket of the shard.',
    epoch         Int64                   COMMENT 'Opening time of that socket, ns since the epoch, UTC.',
    number        Int64                   COMMENT 'Counter of the frame inside its epoch.',
    idx           Int32                   COMMENT 'Index of the fact inside its frame.',
    raw_partition Int32                   COMMENT 'Partition of the raw record on raw.<exchange>.',
    raw_offset    Int64                   COMMENT 'Offset of the raw record on raw.<exchange>.',
    log_id        LowCardinality(String)  COMMENT 'Identity of the Kafka log: cluster id and topic id.',
    topic         LowCardinality(String)  COMMENT 'Event topic the row was read from.',
    partition     Int32                   COMMENT 'Partition of that topic.',
    offset        Int64                   COMMENT 'Offset in that partition.',
    row           Int32                   COMMENT 'Index of the fact inside that record.',
    channel          LowCardinality(String)   COMMENT 'book, trades or connection.',
    symbol           LowCardinality(String)   COMMENT 'Venues own spelling; empty for the connection.',
    ts               DateTime64(9, 'UTC')     COMMENT 'Closing tick, ns.',
    window_ns        Int64                    COMMENT 'Monotonic time since the tick before, ns.',
    frames           Int64                    COMMENT 'Frames in the window.',
    bytes            Int64                    COMMENT 'Payload bytes in the window.',
    age_ns           Nullable(Int64)          COMMENT 'Since the last frame of this stream, ns; null before the first of the epoch.',
    latency_count    Int64                    COMMENT 'Frames with a latency in the window.',
    latency_min_ns   Nullable(Int64)          COMMENT 'Minimum of ts_recv - ts_event, signed ns; null without frames.',
    latency_p50_ns   Nullable(Int64)          COMMENT 'Median of ts_recv - ts_event, signed ns; null without frames.',
    latency_p90_ns   Nullable(Int64)          COMMENT '90th percentile of ts_recv - ts_event, signed ns; null without frames.',
    latency_p99_ns   Nullable(Int64)          COMMENT '99th percentile of ts_recv - ts_event, signed ns; null without frames.',
    latency_max_ns   Nullable(Int64)          COMMENT 'Maximum of ts_recv - ts_event, signed ns; null without frames.',
    jitter_ns        Nullable(Int64)          COMMENT 'Mean |D| of RFC 3550 6.4.1 over the window, ns, null with fewer than two frames.',
    heartbeat_rtt_ns Nullable(Int64)          COMMENT 'Round trip of the last heartbeat in the window, ns.',
    gaps             Int64                    COMMENT 'Sequence gaps.',
    missing          Int64                    COMMENT 'Messages or ids known to be missing.',
    duplicates       Int64                    COMMENT 'Repeated messages, dropped.',
    out_of_order     Int64                    COMMENT 'Late messages.',
    checksums_ok     Int64                    COMMENT 'Checksums that agreed.',
    checksums_bad    Int64                    COMMENT 'Checksums that did not.',
    audits_ok        Int64                    COMMENT 'Fresh snapshots that agreed with the live book.',
    audits_bad       Int64                    COMMENT 'Fresh snapshots that did not.',
    decode_errors    Int64                    COMMENT 'Frames that could not be read.',
    resyncs          Int64                    COMMENT 'Times the book became LIVE again.',
    book_state       Nullable(Enum8('empty' = 0, 'syncing' = 1, 'live' = 2, 'stale' = 3)) COMMENT 'At the end of the window; null for streams that are not books.',
    empty_ns         Int64                    COMMENT 'Time in state EMPTY, ns.',
    syncing_ns       Int64                    COMMENT 'Time in state SYNCING, ns.',
    live_ns          Int64                    COMMENT 'Time in state LIVE, ns.',
    stale_ns         Int64                    COMMENT 'Time in state STALE, ns.',
    queue_frames     Int64                    COMMENT 'Frames waiting for Kafka in the producer at the tick.',
    queue_age_ns     Int64                    COMMENT 'Age of the oldest of them, ns.',
    paused_ns        Int64                    COMMENT 'Time the socket was not read because that queue was full, ns.',
    ts_stored        DateTime64(9, 'UTC') DEFAULT now64(9) COMMENT 'When ClickHouse stored the row.'
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(ts)
ORDER BY (exchange, channel, symbol, ts, epoch, number, idx)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'What each stream did in each second.';
