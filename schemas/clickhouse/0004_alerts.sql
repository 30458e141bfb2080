-- Incidents: a row when one opens and one when it resolves, and a view with a row for each.

CREATE TABLE IF NOT EXISTS alerts
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
    alert_id         String                  COMMENT '[id] Identity of the incident: the same when it opens and when it resolves.',
    phase            Enum8('open' = 1, 'resolve' = 2) COMMENT '[enum] What has happened to the incident.',
    kind             Enum16('disconnected' = 1, 'silence' = 2, 'data_silence' = 3, 'stream_silence' = 4, 'gap' = 5, 'checksum' = 6, 'duplicates' = 7, 'reordering' = 8, 'latency' = 9, 'jitter' = 10, 'crossed_book' = 11, 'schema' = 12, 'rejected' = 13, 'book_down' = 14, 'pipeline' = 15, 'log_broken' = 16) COMMENT '[enum] What is wrong.',
    severity         Enum8('info' = 1, 'warning' = 2, 'critical' = 3) COMMENT '[enum] How soon a person should look.',
    channel          LowCardinality(String)  COMMENT '[name] connection, data (all market data of it), book or trades.',
    symbol           LowCardinality(String)  COMMENT '[name] Spelling of the venue; empty for the whole connection.',
    ts               DateTime64(9, 'UTC')    COMMENT '[time] Receive time of the frame or tick that showed it: when it opened or resolved.',
    ts_effect        DateTime64(9, 'UTC')    COMMENT '[time] When the effect began, as far as the log shows.',
    ts_detected      DateTime64(9, 'UTC')    COMMENT '[time] When it opened.',
    metric           LowCardinality(String)  COMMENT '[name] What was measured.',
    value            Float64                 COMMENT '[number] What it was when it opened; when it resolves, the worst that it was.',
    threshold        Float64                 COMMENT '[number] What it was compared with.',
    unit             LowCardinality(String)  COMMENT '[name] Unit of value and threshold.',
    detail           String                  COMMENT '[text] What a person should know.',
    hits             Int64                   COMMENT '[count] Further evidence since it opened.',
    children         Int64                   COMMENT '[count] Incidents of single streams that were part of it and opened none of their own.',
    ts_stored        DateTime64(9, 'UTC') DEFAULT now64(9) COMMENT '[time] When ClickHouse stored the row.'
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(ts)
ORDER BY (exchange, ts, kind, symbol, epoch, number, idx)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Openings and resolutions of incidents.';

CREATE VIEW IF NOT EXISTS incidents AS
SELECT
    alert_id,
    any(exchange) AS exchange,
    any(shard) AS shard,
    any(line) AS line,
    any(channel) AS channel,
    any(symbol) AS symbol,
    any(kind) AS kind,
    any(severity) AS severity,
    any(ts_effect) AS started,
    any(ts_detected) AS detected,
    maxOrNullIf(ts, phase = 'resolve') AS resolved,
    any(metric) AS metric,
    argMax(value, ts) AS worst,
    any(threshold) AS threshold,
    any(unit) AS unit,
    anyIf(detail, phase = 'open') AS detail,
    max(hits) AS hits,
    max(children) AS children
FROM alerts
GROUP BY alert_id;
