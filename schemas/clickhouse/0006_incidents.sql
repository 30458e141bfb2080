-- Incidents with their cause, where the evidence is, and what they cost; and trades and books with
-- what is known of the second that they are of.

ALTER TABLE books ADD COLUMN IF NOT EXISTS mid Nullable(Float64) DEFAULT if(notEmpty(bid_prices) AND notEmpty(ask_prices), toFloat64(bid_prices[1]) / 2 + toFloat64(ask_prices[1]) / 2, NULL) COMMENT '[number] Midpoint of the best bid and ask, for statistics, in the unit of the prices; null where a side is empty.' AFTER ask_sizes;


DROP VIEW IF EXISTS incident_costs;
CREATE VIEW IF NOT EXISTS incident_costs
(
    alert_id       String                 COMMENT '[id] Incident.',
    symbol         LowCardinality(String) COMMENT '[name] Book; of an incident of a whole connection there is a row for each of its books.',
    shown_at       DateTime64(9, 'UTC')   COMMENT '[time] Receive time of the last change in the book that was held when the effect began.',
    true_at        DateTime64(9, 'UTC')   COMMENT '[time] Receive time of the last change in the first book afterwards.',
    mid_shown      Float64                COMMENT '[number] Midpoint of the book that was held when the effect began.',
    mid_true       Float64                COMMENT '[number] Midpoint of the first book afterwards that anything had been received for since.',
    stale_cost_bps Float64                COMMENT '[bps] How far the first lies from the second.'
)
AS WITH affected AS
(
    -- Each minute in which its books may be, from the one before to the end, for a day at most.
    SELECT alert_id, exchange, shard, line, symbol AS only, started,
        arrayJoin(arrayMap(n -> toStartOfMinute(toDateTime(started, 'UTC')) + 60 * n,
            range(-1, toInt32(least(dateDiff('minute', started, ended) + 2, 1440))))) AS minute
    FROM
    (
        SELECT alert_id, exchange, shard, line, symbol,
            min(ts_effect) AS started, max(ts) + INTERVAL 1 MINUTE AS ended
        FROM alerts
        WHERE kind IN ('disconnected', 'silence', 'data_silence', 'book_down')
            OR (channel = 'book'
                AND kind IN ('gap', 'checksum', 'crossed_book', 'stream_silence'))
        GROUP BY alert_id, exchange, shard, line, symbol
    )
)
SELECT
    alert_id, symbol, shown_at, true_at, mid_shown, mid_true,
    abs(mid_shown - mid_true) / mid_true * 1e4 AS stale_cost_bps
FROM
(
    SELECT affected.alert_id AS alert_id, held.symbol AS symbol,
        argMaxIf(held.mid, held.ts_recv, held.ts_recv <= affected.started) AS mid_shown,
        argMinIf(held.mid, held.ts_recv, held.ts_recv > affected.started) AS mid_true,
        maxIf(held.ts_recv, held.ts_recv <= affected.started) AS shown_at,
        minIf(held.ts_recv, held.ts_recv > affected.started) AS true_at,
        countIf(held.ts_recv <= affected.started) AS before,
        countIf(held.ts_recv > affected.started) AS after
    FROM affected
    INNER JOIN
    (
        SELECT exchange, shard, line, symbol, ts_recv, assumeNotNull(mid) AS mid,
            toStartOfMinute(toDateTime(ts_sample, 'UTC')) AS minute
        FROM books
        WHERE mid IS NOT NULL AND (exchange, toStartOfMinute(toDateTime(ts_sample, 'UTC')))
            IN (SELECT exchange, minute FROM affected)
    ) AS held USING (exchange, shard, line, minute)
    WHERE affected.only = '' OR affected.only = held.symbol
    GROUP BY alert_id, symbol
)
WHERE before AND after;

DROP VIEW IF EXISTS incidents;
CREATE VIEW IF NOT EXISTS incidents
(
    alert_id       String                 COMMENT '[id] Identity: `streamgauge bundle` takes it.',
    exchange       LowCardinality(String) COMMENT '[name] Name of the exchange.',
    shard          LowCardinality(String) COMMENT '[name] Planned connection.',
    line           LowCardinality(String) COMMENT '[name] A or B: which socket of the shard.',
    channel        LowCardinality(String) COMMENT '[name] connection, data (all market data of it), book or trades.',
    symbol         LowCardinality(String) COMMENT '[name] Spelling of the venue; empty for the whole connection.',
    kind           LowCardinality(String) COMMENT '[name] What was wrong: docs/stability.md.',
    severity       LowCardinality(String) COMMENT '[name] info, warning or critical.',
    started        DateTime64(9, 'UTC')   COMMENT '[time] When the effect began, as far as the log shows.',
    detected       DateTime64(9, 'UTC')   COMMENT '[time] When it opened.',
    resolved       Nullable(DateTime64(9, 'UTC')) COMMENT '[time] When it was over, the time without evidence included; null while it is open.',
    duration_s     Nullable(Float64)      COMMENT '[s] From started to resolved; null while it is open.',
    cause          String                 COMMENT '[text] The evidence that opened it: what was measured, against what, and the detail.',
    stage          LowCardinality(String) COMMENT '[name] Where it can lie: venue, venue or network, our producer, our log.',
    metric         LowCardinality(String) COMMENT '[name] What was measured.',
    worst          Float64                COMMENT '[number] The worst that it was, in unit.',
    threshold      Float64                COMMENT '[number] What it was compared with.',
    unit           LowCardinality(String) COMMENT '[name] Unit of worst and threshold.',
    detail         String                 COMMENT '[text] What a person should know.',
    hits           Int64                  COMMENT '[count] Further evidence since it opened.',
    children       Int64                  COMMENT '[count] Incidents of single streams that were part of it.',
    epoch          Int64                  COMMENT '[ns] Opening of the socket whose frame showed it.',
    number         Int64                  COMMENT '[count] Counter of that frame inside its epoch.',
    raw_partition  Int32                  COMMENT '[partition] Partition of that frame on raw.<exchange>.',
    raw_offset     Int64                  COMMENT '[offset] Offset of its record there.',
    stale_cost_bps Nullable(Float64)      COMMENT '[bps] How far off the book was that was held meanwhile, of all books concerned the worst (`incident_costs`); null where there is no book before or after.'
)
AS SELECT
    alert_id, exchange, shard, line, channel, symbol, kind, severity, started, detected, resolved,
    dateDiff('us', started, resolved) / 1e6 AS duration_s,
    concat(
        if(unit IN ('', 'faults'), '', concat(replaceAll(metric, '_', ' '), ': ',
            toString(round(found, 3)), ' ',
            if(found = 1, trimRight(replaceAll(unit, '_', ' '), 's'), replaceAll(unit, '_', ' ')),
            if(threshold > 0, concat(', more than ', toString(round(threshold, 3))), ''))),
        if(unit NOT IN ('', 'faults') AND detail != '', '; ', ''),
        if(unit IN ('', 'faults') AND detail = '', replaceAll(metric, '_', ' '), detail)) AS cause,
    multiIf(kind IN ('pipeline', 'local_clock'), 'our producer', kind = 'log_broken', 'our log',
        kind IN ('disconnected', 'silence', 'latency', 'jitter'), 'venue or network', 'venue')
        AS stage,
    metric, worst, threshold, unit, detail, hits, children, epoch, number, raw_partition,
    raw_offset, costs.stale_cost_bps AS stale_cost_bps
FROM
(
    SELECT
        alert_id,
        any(exchange) AS exchange,
        any(shard) AS shard,
        any(line) AS line,
        any(channel) AS channel,
        any(symbol) AS symbol,
        toString(any(kind)) AS kind,
        toString(any(severity)) AS severity,
        any(ts_effect) AS started,
        any(ts_detected) AS detected,
        maxOrNullIf(ts, phase = 'resolve') AS resolved,
        any(metric) AS metric,
        anyIf(value, phase = 'open') AS found,
        argMax(value, ts) AS worst,
        any(threshold) AS threshold,
        any(unit) AS unit,
        anyIf(detail, phase = 'open') AS detail,
        max(hits) AS hits,
        max(children) AS children,
        anyIf(epoch, phase = 'open') AS epoch,
        anyIf(number, phase = 'open') AS number,
        anyIf(raw_partition, phase = 'open') AS raw_partition,
        anyIf(raw_offset, phase = 'open') AS raw_offset
    FROM alerts
    GROUP BY alert_id
) AS opened
LEFT JOIN
(
    SELECT alert_id, toNullable(max(stale_cost_bps)) AS stale_cost_bps
    FROM incident_costs
    GROUP BY alert_id
) AS costs USING (alert_id);

CREATE VIEW IF NOT EXISTS trades_quality AS
SELECT
    facts.*,
    if(s_ts - toIntervalNanosecond(s_window) < ts_recv, s_state, NULL) AS state,
    if(s_ts - toIntervalNanosecond(s_window) < ts_recv, s_score, NULL) AS score,
    arrayMap(o -> o.1, arrayFilter(o -> (o.2 = '' OR o.2 = symbol) AND o.3 <= ts_recv
        AND ts_recv < o.4, i_open)) AS incident_ids,
    quality = 0 AND ifNull(state = 'stable', false) AND NOT s_blind AND empty(incident_ids)
        AS is_clean
FROM
(
    SELECT * FROM trades
    WHERE ts_recv >= {since:DateTime64(9, 'UTC')} AND ts_recv < {until:DateTime64(9, 'UTC')}
) AS facts
ASOF LEFT JOIN
(
    SELECT exchange AS s_exchange, shard AS s_shard, line AS s_line, symbol AS s_symbol,
        ts AS s_ts, window_ns AS s_window, state AS s_state, score AS s_score,
        is_blind AS s_blind
    FROM stability_1s
    WHERE channel = 'trades' AND ts >= {since:DateTime64(9, 'UTC')}
        AND ts < {until:DateTime64(9, 'UTC')} + INTERVAL 10 SECOND
) AS seconds ON exchange = s_exchange AND shard = s_shard AND line = s_line
    AND symbol = s_symbol AND ts_recv <= s_ts
LEFT JOIN
(
    SELECT exchange AS i_exchange, shard AS i_shard, line AS i_line,
        groupArray((alert_id, about, started, ended)) AS i_open
    FROM
    (
        SELECT alert_id, exchange, shard, line, toString(any(symbol)) AS about,
            any(ts_effect) AS started,
            ifNull(maxOrNullIf(ts, phase = 'resolve'), toDateTime64('2262-01-01', 9, 'UTC'))
                AS ended
        FROM alerts WHERE channel != 'book'
        GROUP BY alert_id, exchange, shard, line
        HAVING started < {until:DateTime64(9, 'UTC')} AND ended > {since:DateTime64(9, 'UTC')}
    )
    GROUP BY exchange, shard, line
) AS incidents ON exchange = i_exchange AND shard = i_shard AND line = i_line;

CREATE VIEW IF NOT EXISTS books_quality AS
SELECT
    facts.*,
    if(s_ts - toIntervalNanosecond(s_window) < ts_sample, s_state, NULL) AS state,
    if(s_ts - toIntervalNanosecond(s_window) < ts_sample, s_score, NULL) AS score,
    arrayMap(o -> o.1, arrayFilter(o -> (o.2 = '' OR o.2 = symbol) AND o.3 <= ts_sample
        AND ts_sample < o.4, i_open)) AS incident_ids,
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
    SELECT exchange AS i_exchange, shard AS i_shard, line AS i_line,
        groupArray((alert_id, about, started, ended)) AS i_open
    FROM
    (
        SELECT alert_id, exchange, shard, line, toString(any(symbol)) AS about,
            any(ts_effect) AS started,
            ifNull(maxOrNullIf(ts, phase = 'resolve'), toDateTime64('2262-01-01', 9, 'UTC'))
                AS ended
        FROM alerts WHERE channel != 'trades'
        GROUP BY alert_id, exchange, shard, line
        HAVING started < {until:DateTime64(9, 'UTC')} AND ended > {since:DateTime64(9, 'UTC')}
    )
    GROUP BY exchange, shard, line
) AS incidents ON exchange = i_exchange AND shard = i_shard AND line = i_line;
