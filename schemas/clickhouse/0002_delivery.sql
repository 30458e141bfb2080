-- What the sinks account for: blocks stored and records given up.

CREATE TABLE IF NOT EXISTS dead_letters
(
    log_id           LowCardinality(String) COMMENT '[id] Identity of the log of the record: cluster id and topic id; empty where its consumer did not know it.',
    topic            LowCardinality(String) COMMENT '[name] Topic of the record.',
    partition        Int32                  COMMENT '[partition] Partition of the record.',
    offset           Int64                  COMMENT '[offset] Offset of the record.',
    consumer         LowCardinality(String) COMMENT '[name] Who gave it up: processor or sink.',
    reason           String                 COMMENT '[text] Why, at most 500 characters.',
    ts               DateTime64(9, 'UTC')   COMMENT '[time] Kafka timestamp of the record.',
    key              Nullable(String)       COMMENT '[bytes] Key of the record; null where it has none.',
    value            Nullable(String)       COMMENT '[bytes] Value of the record, whole unless the reason says how much of it is kept; null where it has none.',
    letter_log_id    LowCardinality(String) COMMENT '[id] Identity of the log of the topic dead_letters: cluster id and topic id.',
    letter_partition Int32                  COMMENT '[partition] Partition of the letter itself on the topic dead_letters.',
    letter_offset    Int64                  COMMENT '[offset] Offset of the letter itself in that partition.',
    ts_stored        DateTime64(9, 'UTC') DEFAULT now64(9) COMMENT '[time] When ClickHouse stored the row.'
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(ts)
ORDER BY (topic, partition, offset)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Records that a consumer could not use, with their reason.';

-- Every block of every topic adds a row here, so its window is the widest.
CREATE TABLE IF NOT EXISTS blocks
(
    log_id       LowCardinality(String) COMMENT '[id] Identity of the Kafka log: cluster id and topic id.',
    topic        LowCardinality(String) COMMENT '[name] Event topic.',
    partition    Int32                  COMMENT '[partition] Partition of that topic.',
    first_offset Int64                  COMMENT '[offset] First offset of the block.',
    end_offset   Int64                  COMMENT '[offset] Offset after the last of the block.',
    records      Int64                  COMMENT '[count] Records read in the block.',
    facts        Int64                  COMMENT '[count] Facts in those records: rows and duplicates.',
    rows         Int64                  COMMENT '[count] Facts that became rows.',
    duplicates   Int64                  COMMENT '[count] Facts in records that repeat an earlier origin, not stored.',
    dead_letters Int64                  COMMENT '[count] Records that could not be used.',
    missing      Int64                  COMMENT '[count] Offsets that the log no longer held when the block was read: facts lost to retention.',
    marks        String                 COMMENT '[text] Last origin of each stream after the block: JSON list of [exchange, shard, line, epoch, number].' CODEC(ZSTD(3)),
    ts_stored    DateTime64(9, 'UTC') DEFAULT now64(9) COMMENT '[time] When ClickHouse stored the row.'
)
ENGINE = MergeTree
ORDER BY (log_id, topic, partition, first_offset)
SETTINGS non_replicated_deduplication_window = 100000
COMMENT 'One row per block that a sink has stored.';
