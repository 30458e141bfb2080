-- Venues compared with one another: seconds, and incidents of their prices.

ALTER TABLE alerts MODIFY COLUMN kind Enum16('disconnected' = 1, 'silence' = 2, 'data_silence' = 3, 'stream_silence' = 4, 'gap' = 5, 'checksum' = 6, 'duplicates' = 7, 'reordering' = 8, 'latency' = 9, 'jitter' = 10, 'crossed_book' = 11, 'schema' = 12, 'rejected' = 13, 'book_down' = 14, 'pipeline' = 15, 'log_broken' = 16, 'clock' = 17, 'local_clock' = 18, 'divergence' = 19, 'frozen_price' = 20) COMMENT '[enum] What is wrong.';

CREATE TABLE IF NOT EXISTS venues_1s
(
    exchange      LowCardinality(String)  COMMENT '[name] Name of the exchange.',
    shard         LowCardinality(String)  COMMENT '[name] The instrument: what is derived from mids is of no connection.',
    line          LowCardinality(String)  COMMENT '[name] Empty.',
    epoch         Int64                   COMMENT '[ns] 0.',
    number        Int64                   COMMENT '[count] The second since 1970, UTC.',
    idx           Int32                   COMMENT '[count] Index of the row in that second.',
    raw_partition Int32                   COMMENT '[partition] Partition of mids with the record that closed the second.',
    raw_offset    Int64                   COMMENT '[offset] Offset of that record.',
    log_id        LowCardinality(String)  COMMENT '[id] Identity of the Kafka log: cluster id and topic id.',
    topic         LowCardinality(String)  COMMENT '[name] Event topic the row was read from.',
    partition     Int32                   COMMENT '[partition] Partition of that topic.',
    offset        Int64                   COMMENT '[offset] Offset in that partition.',
    row           Int32                   COMMENT '[count] Index of the fact inside that record.',
    symbol            LowCardinality(String) COMMENT '[name] Spelling of the venue.',
    instrument        LowCardinality(String) COMMENT '[name] Name that all venues share: undated symbols of one base, dollars of every issuer as USD.',
    ts                DateTime64(9, 'UTC')   COMMENT '[time] The second: prices are as they stood when it began.',
    mid               Nullable(Float64)      COMMENT '[number] Price between best bid and best ask, in quote currency; null where the book was not LIVE.',
    is_fresh          Bool                   COMMENT '[flag] The book has changed within ten seconds, so that its price counts.',
    venues            Int32                  COMMENT '[count] Exchanges whose price counts.',
    consensus         Nullable(Float64)      COMMENT '[number] Price that they agree on, in quote currency; null where they are fewer than three.',
    basis_bps         Nullable(Float64)      COMMENT '[bps] How far the venue usually is from the consensus; null before the first comparison.',
    divergence_bps    Nullable(Float64)      COMMENT '[bps] How far it is from where it usually is; null without a price that counts, or a consensus.',
    usual_bps         Nullable(Float64)      COMMENT '[bps] Divergence that is usual for it: a robust standard deviation; null before the first comparison.',
    divergence_sigmas Nullable(Float64)      COMMENT '[number] Divergence in multiples of usual_bps; null without one of them.',
    unchanged_s       Nullable(Int64)        COMMENT '[s] For how long the best prices have not changed; null without a price that counts, or a consensus.',
    moved_bps         Nullable(Float64)      COMMENT '[bps] How far the consensus has moved meanwhile; null likewise.',
    is_judged         Bool                   COMMENT '[flag] Enough is known to call the venue divergent or frozen, or neither.',
    mid_shard         LowCardinality(String) COMMENT '[name] Planned connection that carried the frame of the mid.',
    mid_line          LowCardinality(String) COMMENT '[name] A or B: which socket of that shard.',
    mid_epoch         Int64                  COMMENT '[ns] Opening time of that socket since 1970, UTC.',
    mid_number        Int64                  COMMENT '[count] Counter of that frame inside its epoch: the first that was received in the second.',
    ts_stored         DateTime64(9, 'UTC') DEFAULT now64(9) COMMENT '[time] When ClickHouse stored the row.'
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(ts)
ORDER BY (instrument, ts, exchange, symbol)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Every venue beside the others, an instrument and second a row.';

-- Incidents of a venue's price are of no connection: they are open for all its books of that symbol.
DROP VIEW IF EXISTS books_quality;
CREATE VIEW IF NOT EXISTS books_quality AS
SELECT
    facts.*,
    if(s_ts - toIntervalNanosecond(s_window) < ts_sample, s_state, NULL) AS state,
    if(s_ts - toIntervalNanosecond(s_window) < ts_sample, s_score, NULL) AS score,
    arrayMap(o -> o.1, arrayFilter(o -> (o.2 = '' OR o.2 = symbol) AND o.3 <= ts_sample
        AND ts_sample < o.4 AND (o.6 = '' OR (o.5 = shard AND o.6 = line)), i_open))
        AS incident_ids,
    -- Unverified is nothing known against a book, and nothing for it.
    quality IN (0, 1) AND ifNull(state = 'stable', false) AND NOT s_blind AND empty(incident_ids)
        AS is_clean
FROM
(
    SELECT * FROM books
    WHERE ts_sample >= {since:DateTime64(9, 'UTC')} AND ts_sample < {until:DateTime64(9, 'UTC')}
) AS facts
ASOF LEFT JOIN
(
    SELECT exchange AS s_exchange, shard AS s_shard, line AS s_line, symbol AS s_symbol,
        ts AS s_ts, window_ns AS s_window, state AS s_state, score AS s_score,
        is_blind AS s_blind
    FROM stability_1s
    WHERE channel = 'book' AND ts >= {since:DateTime64(9, 'UTC')}
        AND ts < {until:DateTime64(9, 'UTC')} + INTERVAL 10 SECOND
) AS seconds ON exchange = s_exchange AND shard = s_shard AND line = s_line
    AND symbol = s_symbol AND ts_sample <= s_ts
LEFT JOIN
(
    SELECT exchange AS i_exchange,
        groupArray((alert_id, about, started, ended, its_shard, its_line)) AS i_open
    FROM
    (
        SELECT alert_id, exchange, toString(shard) AS its_shard, toString(line) AS its_line,
            toString(any(symbol)) AS about,
            any(ts_effect) AS started,
            ifNull(maxOrNullIf(ts, phase = 'resolve'), toDateTime64('2262-01-01', 9, 'UTC'))
                AS ended
        FROM alerts WHERE channel != 'trades'
        GROUP BY alert_id, exchange, its_shard, its_line
        HAVING started < {until:DateTime64(9, 'UTC')} AND ended > {since:DateTime64(9, 'UTC')}
    )
    GROUP BY exchange
) AS incidents ON exchange = i_exchange;
