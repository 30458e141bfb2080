-- Tables of facts: one row per trade, sampled book, fault and stream second.
-- Every insert is a block with a deduplication token, hence the deduplication window.
-- A comment begins with the column's unit; docs/data-dictionary.md says what each unit means.

CREATE TABLE IF NOT EXISTS trades
(
    exchange      LowCardinality(String)  COMMENT '[name] Name of the exchange.',
    shard         LowCardinality(String)  COMMENT '[name] Planned connection that carried the frame.',
    line          LowCardinality(String)  COMMENT '[name] A or B: which socket of the shard.',
    epoch         Int64                   COMMENT '[ns] Opening time of that socket since 1970, UTC: which opening this is.',
    number        Int64                   COMMENT '[count] Counter of the frame inside its epoch.',
    idx           Int32                   COMMENT '[count] Index of the fact inside its frame.',
    raw_partition Int32                   COMMENT '[partition] Partition of the raw record on raw.<exchange>.',
    raw_offset    Int64                   COMMENT '[offset] Offset of the raw record on raw.<exchange>.',
    log_id        LowCardinality(String)  COMMENT '[id] Identity of the Kafka log: cluster id and topic id.',
    topic         LowCardinality(String)  COMMENT '[name] Event topic the row was read from.',
    partition     Int32                   COMMENT '[partition] Partition of that topic.',
    offset        Int64                   COMMENT '[offset] Offset in that partition.',
    row           Int32                   COMMENT '[count] Index of the fact inside that record.',
    symbol           LowCardinality(String)   COMMENT '[name] Spelling of the venue itself.',
    trade_id         String                   COMMENT '[id] Identity given by the venue, empty where it has none.',
    sequence         Nullable(Int64)          COMMENT '[id] Contiguous counter of the venue, null where it has none.',
    price            Decimal(38, 18)          COMMENT '[price] Exact price.',
    size             Decimal(38, 18)          COMMENT '[size] Exact size in the unit of the venue.',
    side             Enum8('buy' = 1, 'sell' = 2) COMMENT '[enum] Side of the aggressor.',
    ts_event         DateTime64(9, 'UTC')     COMMENT '[time] Time stated by the exchange.',
    ts_recv          DateTime64(9, 'UTC')     COMMENT '[time] Time of the socket read.',
    quality          UInt16                   COMMENT '[flags] Quality flags, 0 for none: 1 unverified, 2 after gap, 4 out of order, 8 clock skewed, 16 shallow.',
    ts_stored        DateTime64(9, 'UTC') DEFAULT now64(9) COMMENT '[time] When ClickHouse stored the row.'
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(ts_recv)
ORDER BY (exchange, symbol, ts_event, epoch, number, idx)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'One row per execution.';

CREATE TABLE IF NOT EXISTS books
(
    exchange      LowCardinality(String)  COMMENT '[name] Name of the exchange.',
    shard         LowCardinality(String)  COMMENT '[name] Planned connection that carried the frame.',
    line          LowCardinality(String)  COMMENT '[name] A or B: which socket of the shard.',
    epoch         Int64                   COMMENT '[ns] Opening time of that socket since 1970, UTC: which opening this is.',
    number        Int64                   COMMENT '[count] Counter of the frame inside its epoch.',
    idx           Int32                   COMMENT '[count] Index of the fact inside its frame.',
    raw_partition Int32                   COMMENT '[partition] Partition of the raw record on raw.<exchange>.',
    raw_offset    Int64                   COMMENT '[offset] Offset of the raw record on raw.<exchange>.',
    log_id        LowCardinality(String)  COMMENT '[id] Identity of the Kafka log: cluster id and topic id.',
    topic         LowCardinality(String)  COMMENT '[name] Event topic the row was read from.',
    partition     Int32                   COMMENT '[partition] Partition of that topic.',
    offset        Int64                   COMMENT '[offset] Offset in that partition.',
    row           Int32                   COMMENT '[count] Index of the fact inside that record.',
    symbol           LowCardinality(String)   COMMENT '[name] Spelling of the venue itself.',
    sequence         Nullable(Int64)          COMMENT '[id] Id of this state given by the venue, null where it has none.',
    ts_event         Nullable(DateTime64(9, 'UTC')) COMMENT '[time] Time stated by the exchange for the last applied change, null where only a snapshot without a time was seen.',
    ts_recv          DateTime64(9, 'UTC')     COMMENT '[time] Time of the socket read of the last applied change.',
    ts_sample        DateTime64(9, 'UTC')     COMMENT '[time] Tick that took the sample.',
    quality          UInt16                   COMMENT '[flags] Quality flags, 0 for none: 1 unverified, 2 after gap, 4 out of order, 8 clock skewed, 16 shallow.',
    bid_prices       Array(Decimal(38, 18))   COMMENT '[price] Best first.',
    bid_sizes        Array(Decimal(38, 18))   COMMENT '[size] Sizes at bid_prices.',
    ask_prices       Array(Decimal(38, 18))   COMMENT '[price] Best first.',
    ask_sizes        Array(Decimal(38, 18))   COMMENT '[size] Sizes at ask_prices.',
    digest           UInt32                   COMMENT '[checksum] CRC-32 of the canonical text of these levels.',
    ts_stored        DateTime64(9, 'UTC') DEFAULT now64(9) COMMENT '[time] When ClickHouse stored the row.'
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(ts_recv)
ORDER BY (exchange, symbol, ts_sample, epoch, number, idx)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Sampled tops of live books.';

CREATE TABLE IF NOT EXISTS faults
(
    exchange      LowCardinality(String)  COMMENT '[name] Name of the exchange.',
    shard         LowCardinality(String)  COMMENT '[name] Planned connection that carried the frame.',
    line          LowCardinality(String)  COMMENT '[name] A or B: which socket of the shard.',
    epoch         Int64                   COMMENT '[ns] Opening time of that socket since 1970, UTC: which opening this is.',
    number        Int64                   COMMENT '[count] Counter of the frame inside its epoch.',
    idx           Int32                   COMMENT '[count] Index of the fact inside its frame.',
    raw_partition Int32                   COMMENT '[partition] Partition of the raw record on raw.<exchange>.',
    raw_offset    Int64                   COMMENT '[offset] Offset of the raw record on raw.<exchange>.',
    log_id        LowCardinality(String)  COMMENT '[id] Identity of the Kafka log: cluster id and topic id.',
    topic         LowCardinality(String)  COMMENT '[name] Event topic the row was read from.',
    partition     Int32                   COMMENT '[partition] Partition of that topic.',
    offset        Int64                   COMMENT '[offset] Offset in that partition.',
    row           Int32                   COMMENT '[count] Index of the fact inside that record.',
    kind             Enum16('sequence_gap' = 1, 'checksum_mismatch' = 2, 'crossed_book' = 3, 'audit_mismatch' = 4, 'trade_gap' = 5, 'decode_error' = 6, 'unknown_symbol' = 7, 'subscription_rejected' = 8, 'exchange_error' = 9, 'disconnected' = 10, 'connect_failed' = 11, 'request_failed' = 12, 'frames_lost' = 13, 'chain_broken' = 14, 'frames_dropped' = 15, 'buffer_overflow' = 16, 'snapshot_too_old' = 17, 'unrepresentable' = 18, 'unexpected_binary' = 19, 'maintenance' = 20) COMMENT '[enum] What was wrong.',
    symbol           LowCardinality(String)   COMMENT '[name] Spelling of the venue, empty for the whole connection.',
    channel          LowCardinality(String)   COMMENT '[name] book, trades or connection.',
    expected         String                   COMMENT '[text] What would have been right.',
    found            String                   COMMENT '[text] What was there instead.',
    count            Nullable(Int64)          COMMENT '[count] Size of the loss in unit, null where the venue cannot tell.',
    unit             LowCardinality(String)   COMMENT '[name] trades, update_ids, frames, or empty.',
    ts_recv          DateTime64(9, 'UTC')     COMMENT '[time] Receive time of the frame that shows it.',
    ts_stored        DateTime64(9, 'UTC') DEFAULT now64(9) COMMENT '[time] When ClickHouse stored the row.'
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(ts_recv)
ORDER BY (exchange, ts_recv, symbol, epoch, number, idx)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Recorded facts about bad data.';

CREATE TABLE IF NOT EXISTS stability_1s
(
    exchange      LowCardinality(String)  COMMENT '[name] Name of the exchange.',
    shard         LowCardinality(String)  COMMENT '[name] Planned connection that carried the frame.',
    line          LowCardinality(String)  COMMENT '[name] A or B: which socket of the shard.',
    epoch         Int64                   COMMENT '[ns] Opening time of that socket since 1970, UTC: which opening this is.',
    number        Int64                   COMMENT '[count] Counter of the frame inside its epoch.',
    idx           Int32                   COMMENT '[count] Index of the fact inside its frame.',
    raw_partition Int32                   COMMENT '[partition] Partition of the raw record on raw.<exchange>.',
    raw_offset    Int64                   COMMENT '[offset] Offset of the raw record on raw.<exchange>.',
    log_id        LowCardinality(String)  COMMENT '[id] Identity of the Kafka log: cluster id and topic id.',
    topic         LowCardinality(String)  COMMENT '[name] Event topic the row was read from.',
    partition     Int32                   COMMENT '[partition] Partition of that topic.',
    offset        Int64                   COMMENT '[offset] Offset in that partition.',
    row           Int32                   COMMENT '[count] Index of the fact inside that record.',
    channel          LowCardinality(String)   COMMENT '[name] book, trades or connection.',
    symbol           LowCardinality(String)   COMMENT '[name] Spelling of the venue; empty for the connection.',
    ts               DateTime64(9, 'UTC')     COMMENT '[time] Closing tick.',
    window_ns        Int64                    COMMENT '[ns] Monotonic time since the tick before.',
    frames           Int64                    COMMENT '[count] Frames in the window.',
    bytes            Int64                    COMMENT '[bytes] Payload bytes in the window.',
    age_ns           Nullable(Int64)          COMMENT '[ns] Since the last frame of this stream; null before the first of the epoch.',
    latency_count    Int64                    COMMENT '[count] Frames with a latency in the window.',
    latency_min_ns   Nullable(Int64)          COMMENT '[ns] Minimum of ts_recv - ts_event, signed; null without frames.',
    latency_p50_ns   Nullable(Int64)          COMMENT '[ns] Median of ts_recv - ts_event, signed; null without frames.',
    latency_p90_ns   Nullable(Int64)          COMMENT '[ns] 90th percentile of ts_recv - ts_event, signed; null without frames.',
    latency_p99_ns   Nullable(Int64)          COMMENT '[ns] 99th percentile of ts_recv - ts_event, signed; null without frames.',
    latency_max_ns   Nullable(Int64)          COMMENT '[ns] Maximum of ts_recv - ts_event, signed; null without frames.',
    jitter_ns        Nullable(Int64)          COMMENT '[ns] Mean |D| of RFC 3550 6.4.1 over the window, null with fewer than two frames.',
    heartbeat_rtt_ns Nullable(Int64)          COMMENT '[ns] Round trip of the last heartbeat in the window; null without one.',
    gaps             Int64                    COMMENT '[count] Sequence gaps.',
    missing          Int64                    COMMENT '[count] Messages or ids known to be missing.',
    duplicates       Int64                    COMMENT '[count] Repeated messages, dropped.',
    out_of_order     Int64                    COMMENT '[count] Late messages.',
    checksums_ok     Int64                    COMMENT '[count] Checksums that agreed.',
    checksums_bad    Int64                    COMMENT '[count] Checksums that did not.',
    audits_ok        Int64                    COMMENT '[count] Fresh snapshots that agreed with the live book.',
    audits_bad       Int64                    COMMENT '[count] Fresh snapshots that did not.',
    decode_errors    Int64                    COMMENT '[count] Frames that could not be read.',
    resyncs          Int64                    COMMENT '[count] Times the book became LIVE again.',
    book_state       Nullable(Enum8('empty' = 0, 'syncing' = 1, 'live' = 2, 'stale' = 3)) COMMENT '[enum] At the end of the window; null for streams that are not books.',
    empty_ns         Int64                    COMMENT '[ns] Time in state EMPTY.',
    syncing_ns       Int64                    COMMENT '[ns] Time in state SYNCING.',
    live_ns          Int64                    COMMENT '[ns] Time in state LIVE.',
    stale_ns         Int64                    COMMENT '[ns] Time in state STALE.',
    queue_frames     Int64                    COMMENT '[count] Frames waiting for Kafka in the producer at the tick.',
    queue_age_ns     Int64                    COMMENT '[ns] Age of the oldest of them.',
    paused_ns        Int64                    COMMENT '[ns] Time the socket was not read because that queue was full.',
    ts_stored        DateTime64(9, 'UTC') DEFAULT now64(9) COMMENT '[time] When ClickHouse stored the row.'
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(ts)
ORDER BY (exchange, channel, symbol, ts, epoch, number, idx)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'What each stream did in each second.';
