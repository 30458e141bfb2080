-- What the sinks account for: blocks stored and records given up.

CREATE TABLE dead_letters
(
    log_id    LowCardinality(String) COMMENT 'Identity of the Kafka log: cluster id and topic id.',
    topic     LowCardinality(String) COMMENT 'Where the record was read.',
    partition Int32                  COMMENT 'Where the record was read.',
    offset    Int64                  COMMENT 'Where the record was read.',
    consumer  LowCardinality(String) COMMENT 'Who gave it up: processor or sink.',
    reason    String                 COMMENT 'Why.',
    ts        DateTime64(9, 'UTC')   COMMENT 'Kafka timestamp of the record.',
    key       Nullable(String)       COMMENT 'Its key.',
    value     Nullable(String)       COMMENT 'Its value, whole.',
    ts_stored DateTime64(9, 'UTC') DEFAULT now64(9) COMMENT 'When ClickHouse stored the row.'
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(ts)
ORDER BY (topic, partition, offset)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Records that a consumer could not use, with their reason.';

CREATE TABLE blocks
(
    log_id       LowCardinality(String) COMMENT 'Identity of the Kafka log: cluster id and topic id.',
    topic        LowCardinality(String) COMMENT 'Event topic.',
    partition    Int32                  COMMENT 'Partition of that topic.',
    first_offset Int64                  COMMENT 'First offset of the block.',
    end_offset   Int64                  COMMENT 'Offset after the last of the block.',
    records      Int64                  COMMENT 'Records read in the block.',
    facts        Int64                  COMMENT 'Facts in those records.',
    rows         Int64                  COMMENT 'Facts that became rows.',
    duplicates   Int64                  COMMENT 'Facts in records that repeat an earlier origin, not stored.',
    dead_letters Int64                  COMMENT 'Records that could not be used.',
    marks        String                 COMMENT 'Last origin of each stream after the block, JSON.',
    ts_stored    DateTime64(9, 'UTC') DEFAULT now64(9) COMMENT 'When ClickHouse stored the row.'
)
ENGINE = MergeTree
ORDER BY (log_id, topic, partition, first_offset)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'One row per block that a sink has stored.';
