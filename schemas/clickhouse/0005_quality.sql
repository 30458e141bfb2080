-- Minutes that can be merged into hours, and what each stream was worth on each day.
-- Both are views, so they are right whenever the rows below them are
-- (docs/decisions/0013-quality-by-views.md has what that costs).

CREATE VIEW IF NOT EXISTS stability_1m
(
    exchange          LowCardinality(String) COMMENT '[name] Name of the exchange.',
    shard             LowCardinality(String) COMMENT '[name] Planned connection.',
    line              LowCardinality(String) COMMENT '[name] A or B: which socket of the shard.',
    channel           LowCardinality(String) COMMENT '[name] connection, data (all market data of it), book or trades.',
    symbol            LowCardinality(String) COMMENT '[name] Spelling of the venue; empty for the connection and its data.',
    minute            DateTime('UTC')        COMMENT '[time] Beginning of the minute in which the windows closed.',
    windows           UInt64 COMMENT '[count] Rows of stability_1s.',
    observed_ns       Int64  COMMENT '[ns] Time of which something is known: all windows but blind ones.',
    blind_ns          Int64  COMMENT '[ns] Time in which our own pipeline did not see all that came.',
    clean_ns          Int64  COMMENT '[ns] Observed time of stable windows in which nothing at all was wrong.',
    stable_ns         Int64  COMMENT '[ns] Observed time in state stable.',
    degraded_ns       Int64  COMMENT '[ns] Observed time in state degraded.',
    unstable_ns       Int64  COMMENT '[ns] Observed time in state unstable.',
    syncing_ns        Int64  COMMENT '[ns] Observed time in state syncing.',
    connecting_ns     Int64  COMMENT '[ns] Observed time in state connecting.',
    down_ns           Int64  COMMENT '[ns] Observed time in state down.',
    frames            Int64  COMMENT '[count] Frames.',
    bytes             Int64  COMMENT '[bytes] Payload bytes.',
    gaps              Int64  COMMENT '[count] Sequence gaps.',
    missing           Int64  COMMENT '[count] Messages or ids known to be missing.',
    duplicates        Int64  COMMENT '[count] Repeated messages, dropped.',
    out_of_order      Int64  COMMENT '[count] Late messages.',
    checksums_ok      Int64  COMMENT '[count] Checksums that agreed.',
    checksums_bad     Int64  COMMENT '[count] Checksums that did not.',
    audits_ok         Int64  COMMENT '[count] Fresh snapshots that agreed with the live book.',
    audits_bad        Int64  COMMENT '[count] Fresh snapshots that did not.',
    decode_errors     Int64  COMMENT '[count] Frames that could not be read.',
    resyncs           Int64  COMMENT '[count] Times the book became LIVE again.',
    gap_max_ns        Nullable(Int64) COMMENT '[ns] Longest time between two frames; null where there was none.',
    latency_count     Int64  COMMENT '[count] Frames with a latency.',
    latency_min_ns    Nullable(Int64) COMMENT '[ns] Minimum of ts_recv - ts_event, signed; null without frames.',
    latency_max_ns    Nullable(Int64) COMMENT '[ns] Maximum of ts_recv - ts_event, signed; null without frames.',
    latency_p50_state AggregateFunction(quantilesDD(0.01, 0.5, 0.9, 0.99), Nullable(Float64)) COMMENT '[state] Of the seconds'' medians of the latency, ns, to 1 % of the value: quantilesDDMerge(0.01, 0.5, 0.9, 0.99).',
    latency_p99_state AggregateFunction(quantilesDD(0.01, 0.5, 0.9, 0.99), Nullable(Float64)) COMMENT '[state] Of the seconds'' 99th percentiles of the latency, likewise.',
    scored_ns         Int64  COMMENT '[ns] Observed time with a score.',
    score_min         Nullable(Float64) COMMENT '[score] Lowest score; null without one.',
    score_state       AggregateFunction(quantilesExactWeighted(0.01, 0.1, 0.5), Nullable(Float64), UInt64) COMMENT '[state] Of the score, to a tenth, weighted by observed time: quantilesExactWeightedMerge(0.01, 0.1, 0.5).'
)
AS SELECT
    exchange, shard, line, channel, symbol,
    toStartOfMinute(toDateTime(ts, 'UTC')) AS minute,
    count() AS windows,
    sumIf(window_ns, NOT is_blind) AS observed_ns,
    sumIf(window_ns, is_blind) AS blind_ns,
    sumIf(window_ns, NOT is_blind AND state = 'stable' AND s.gaps = 0 AND s.missing = 0
        AND s.duplicates = 0 AND s.out_of_order = 0 AND s.checksums_bad = 0 AND s.audits_bad = 0
        AND s.decode_errors = 0 AND s.stale_ns = 0) AS clean_ns,
    sumIf(window_ns, NOT is_blind AND state = 'stable') AS stable_ns,
    sumIf(window_ns, NOT is_blind AND state = 'degraded') AS degraded_ns,
    sumIf(window_ns, NOT is_blind AND state = 'unstable') AS unstable_ns,
    sumIf(window_ns, NOT is_blind AND state = 'syncing') AS syncing_ns,
    sumIf(window_ns, NOT is_blind AND state = 'connecting') AS connecting_ns,
    sumIf(window_ns, NOT is_blind AND state = 'down') AS down_ns,
    sum(s.frames) AS frames,
    sum(s.bytes) AS bytes,
    sum(s.gaps) AS gaps,
    sum(s.missing) AS missing,
    sum(s.duplicates) AS duplicates,
    sum(s.out_of_order) AS out_of_order,
    sum(s.checksums_ok) AS checksums_ok,
    sum(s.checksums_bad) AS checksums_bad,
    sum(s.audits_ok) AS audits_ok,
    sum(s.audits_bad) AS audits_bad,
    sum(s.decode_errors) AS decode_errors,
    sum(s.resyncs) AS resyncs,
    max(s.gap_max_ns) AS gap_max_ns,
    sum(s.latency_count) AS latency_count,
    min(s.latency_min_ns) AS latency_min_ns,
    max(s.latency_max_ns) AS latency_max_ns,
    quantilesDDState(0.01, 0.5, 0.9, 0.99)(toFloat64(latency_p50_ns)) AS latency_p50_state,
    quantilesDDState(0.01, 0.5, 0.9, 0.99)(toFloat64(latency_p99_ns)) AS latency_p99_state,
    sumIf(window_ns, NOT is_blind AND score IS NOT NULL) AS scored_ns,
    minIf(score, NOT is_blind) AS score_min,
    quantilesExactWeightedState(0.01, 0.1, 0.5)
        (if(is_blind, NULL, round(score, 1)), toUInt64(window_ns)) AS score_state
FROM stability_1s AS s
GROUP BY exchange, shard, line, channel, symbol, minute;

CREATE VIEW IF NOT EXISTS quality_daily
(
    day                Date                   COMMENT '[time] UTC.',
    exchange           LowCardinality(String) COMMENT '[name] Name of the exchange.',
    shard              LowCardinality(String) COMMENT '[name] Planned connection.',
    line               LowCardinality(String) COMMENT '[name] A or B: which socket of the shard.',
    channel            LowCardinality(String) COMMENT '[name] connection, data (all market data of it), book or trades.',
    symbol             LowCardinality(String) COMMENT '[name] Spelling of the venue; empty for the connection and its data.',
    expected_s         UInt32            COMMENT '[s] Seconds of the day; of today those that have passed.',
    observed_s         Float64           COMMENT '[s] Of these, how many something is known of: recorded, and not blind.',
    coverage           Float64           COMMENT '[ratio] observed_s of expected_s.',
    clean              Nullable(Float64) COMMENT '[ratio] Share of the observed time that was stable with nothing at all wrong; null where nothing was observed.',
    stable             Nullable(Float64) COMMENT '[ratio] Share of the observed time in state stable; null where nothing was observed.',
    usable             Nullable(Float64) COMMENT '[ratio] Share of the observed time in state stable, degraded or unstable; null where nothing was observed.',
    verified           Nullable(Float64) COMMENT '[ratio] Share of the stored rows that are proven: books by a checksum or an audit since their snapshot, trades by the venue''s numbering; null without rows, as of connection and data.',
    rows               Nullable(UInt64)  COMMENT '[count] Rows stored in books or trades; null for connection and data.',
    outages            Nullable(UInt32)  COMMENT '[count] Times the stream could not be used, after it could; null where nothing was observed.',
    outage_s           Nullable(Float64) COMMENT '[s] Observed time in which it could not be used (down, connecting, syncing); null where nothing was observed.',
    mtbf_s             Nullable(Float64) COMMENT '[s] Usable time per outage; null without an outage.',
    mttr_s             Nullable(Float64) COMMENT '[s] outage_s per outage; null without an outage.',
    score_p01          Nullable(Float64) COMMENT '[score] 1st percentile of the score over observed time, to a tenth; null without a score.',
    score_p10          Nullable(Float64) COMMENT '[score] 10th percentile, likewise; null without a score.',
    score_p50          Nullable(Float64) COMMENT '[score] Median, likewise; null without a score.',
    score_min          Nullable(Float64) COMMENT '[score] Lowest score; null without a score.',
    latency_p50_ns     Nullable(Float64) COMMENT '[ns] Median over seconds of their median of ts_recv - ts_event, to 1 %; null without frames.',
    latency_p99_ns     Nullable(Float64) COMMENT '[ns] 99th percentile over seconds of their 99th percentile, to 1 %; null without frames.',
    latency_max_ns     Nullable(Int64)   COMMENT '[ns] Maximum; null without frames.',
    frames             Nullable(Int64)   COMMENT '[count] Frames; null where nothing was observed.',
    gaps               Nullable(Int64)   COMMENT '[count] Sequence gaps; null where nothing was observed.',
    missing            Nullable(Int64)   COMMENT '[count] Messages or ids known to be missing; null where nothing was observed.',
    duplicates         Nullable(Int64)   COMMENT '[count] Repeated messages; null where nothing was observed.',
    out_of_order       Nullable(Int64)   COMMENT '[count] Late messages; null where nothing was observed.',
    checks             Nullable(Int64)   COMMENT '[count] Checksums and audits; null where nothing was observed.',
    checks_bad         Nullable(Int64)   COMMENT '[count] Checksums and audits that did not agree; null where nothing was observed.',
    resyncs            Nullable(Int64)   COMMENT '[count] Times the book became LIVE again; null where nothing was observed.'
)
AS WITH
    -- Ends of the windows in which the stream could not be used, in ms; a run is one outage.
    arraySort(bad) AS ends,
    -- A run that the day's rows of a stream begin with is a beginning, or last night's outage.
    arrayCount((at, before) -> at - before > 1500, arraySlice(ends, 2), arraySlice(ends, 1, -1))
        + (notEmpty(ends) AND ends[1] - first_ms > 1500) AS runs,
    observed > 0 AS is_observed
SELECT
    day, exchange, shard, line, channel, symbol,
    toUInt32(if(day = toDate(now('UTC'), 'UTC'), greatest(toUnixTimestamp(now('UTC')) % 86400, 1), 86400))
        AS expected_s,
    observed / 1e9 AS observed_s,
    least(observed_s / expected_s, 1) AS coverage,
    if(is_observed, clean_ns / observed, NULL) AS clean,
    if(is_observed, stable_ns / observed, NULL) AS stable,
    if(is_observed, 1 - bad_ns / observed, NULL) AS usable,
    proven / stored AS verified,
    stored AS rows,
    if(is_observed, toUInt32(runs), NULL) AS outages,
    if(is_observed, bad_ns / 1e9, NULL) AS outage_s,
    if(is_observed AND runs > 0, (observed - bad_ns) / 1e9 / runs, NULL) AS mtbf_s,
    if(is_observed AND runs > 0, bad_ns / 1e9 / runs, NULL) AS mttr_s,
    if(scored > 0, scores[1], NULL) AS score_p01,
    if(scored > 0, scores[2], NULL) AS score_p10,
    if(scored > 0, scores[3], NULL) AS score_p50,
    worst AS score_min,
    if(timed > 0, p50_ns, NULL) AS latency_p50_ns,
    if(timed > 0, p99_ns, NULL) AS latency_p99_ns,
    max_ns AS latency_max_ns,
    if(is_observed, counts[1], NULL) AS frames,
    if(is_observed, counts[2], NULL) AS gaps,
    if(is_observed, counts[3], NULL) AS missing,
    if(is_observed, counts[4], NULL) AS duplicates,
    if(is_observed, counts[5], NULL) AS out_of_order,
    if(is_observed, counts[6], NULL) AS checks,
    if(is_observed, counts[7], NULL) AS checks_bad,
    if(is_observed, counts[8], NULL) AS resyncs
FROM
(
    SELECT day, exchange, shard, line, channel, symbol,
        sum(observed) AS observed, sum(clean_ns) AS clean_ns, sum(stable_ns) AS stable_ns,
        sum(bad_ns) AS bad_ns, sum(scored) AS scored, sum(timed) AS timed, max(bad) AS bad,
        max(first_ms) AS first_ms, max(scores) AS scores, max(worst) AS worst,
        max(p50_ns) AS p50_ns, max(p99_ns) AS p99_ns, max(max_ns) AS max_ns,
        sumForEach(counts) AS counts, sum(stored) AS stored, sum(proven) AS proven
    FROM
    (
        SELECT toDate(ts, 'UTC') AS day, exchange, shard, line, channel, symbol,
            sumIf(window_ns, NOT is_blind) AS observed,
            sumIf(window_ns, NOT is_blind AND state = 'stable' AND gaps = 0 AND missing = 0
                AND duplicates = 0 AND out_of_order = 0 AND checksums_bad = 0
                AND audits_bad = 0 AND decode_errors = 0 AND stale_ns = 0) AS clean_ns,
            sumIf(window_ns, NOT is_blind AND state = 'stable') AS stable_ns,
            sumIf(window_ns, NOT is_blind AND state IN ('down', 'connecting', 'syncing'))
                AS bad_ns,
            countIf(NOT is_blind AND score IS NOT NULL) AS scored,
            countIf(latency_count > 0) AS timed,
            groupArrayIf(toUnixTimestamp64Milli(ts),
                NOT is_blind AND state IN ('down', 'connecting', 'syncing')) AS bad,
            min(toUnixTimestamp64Milli(ts)) AS first_ms,
            quantilesExactWeighted(0.01, 0.1, 0.5)
                (if(is_blind, NULL, round(score, 1)), toUInt64(window_ns)) AS scores,
            minIf(score, NOT is_blind) AS worst,
            quantileDD(0.01, 0.5)(toFloat64(latency_p50_ns)) AS p50_ns,
            quantileDD(0.01, 0.99)(toFloat64(latency_p99_ns)) AS p99_ns,
            max(latency_max_ns) AS max_ns,
            [sum(frames), sum(gaps), sum(missing), sum(duplicates), sum(out_of_order),
                sum(checksums_ok + checksums_bad + audits_ok + audits_bad),
                sum(checksums_bad + audits_bad), sum(resyncs)] AS counts,
            CAST(NULL, 'Nullable(UInt64)') AS stored,
            CAST(NULL, 'Nullable(UInt64)') AS proven
        FROM stability_1s
        GROUP BY ALL
        UNION ALL
        -- What was stored, and how much of it is proven.
        SELECT toDate(ts_sample, 'UTC'), exchange, shard, line, 'book', symbol,
            0, 0, 0, 0, 0, 0, [], 0, [], NULL, NULL, NULL, NULL, [],
            count(), countIf(bitAnd(quality, 1) = 0)
        FROM books
        GROUP BY ALL
        UNION ALL
        SELECT toDate(ts_recv, 'UTC'), exchange, shard, line, 'trades', symbol,
            0, 0, 0, 0, 0, 0, [], 0, [], NULL, NULL, NULL, NULL, [],
            count(), countIf(bitAnd(quality, 2) = 0 AND sequence IS NOT NULL)
        FROM trades
        GROUP BY ALL
        UNION ALL
        -- A stream that is seen no more is missed for a week, and not forgotten at midnight.
        SELECT seen + ahead, exchange, shard, line, channel, symbol,
            0, 0, 0, 0, 0, 0, [], 0, [], NULL, NULL, NULL, NULL, [], NULL, NULL
        FROM
        (
            -- Every twentieth second is enough to know who was there, and costs little to read.
            SELECT DISTINCT toDate(ts, 'UTC') AS seen, exchange, shard, line, channel, symbol
            FROM stability_1s WHERE toSecond(ts) % 20 = 0
        )
        ARRAY JOIN range(1, 8) AS ahead
        WHERE seen + ahead <= toDate(now('UTC'), 'UTC')
    )
    GROUP BY ALL
);
