-- What venues' prices say of trades, and which venue's price is first.

-- Incidents of a venue's price are its book's, and of no connection: a trade at a price that is in
-- doubt is in doubt with it. Other incidents of books say nothing of trades.
DROP VIEW IF EXISTS trades_quality;
CREATE VIEW IF NOT EXISTS trades_quality AS
SELECT
    facts.*,
    if(s_ts - toIntervalNanosecond(s_window) < ts_recv, s_state, NULL) AS state,
    if(s_ts - toIntervalNanosecond(s_window) < ts_recv, s_score, NULL) AS score,
    arrayMap(o -> o.1, arrayFilter(o -> (o.2 = '' OR o.2 = symbol) AND o.3 <= ts_recv
        AND ts_recv < o.4 AND (o.6 = '' OR (o.5 = shard AND o.6 = line)), i_open))
        AS incident_ids,
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
    SELECT exchange AS i_exchange,
        groupArray((alert_id, about, started, ended, its_shard, its_line)) AS i_open
    FROM
    (
        SELECT alert_id, exchange, toString(shard) AS its_shard, toString(line) AS its_line,
            toString(any(symbol)) AS about,
            any(ts_effect) AS started,
            ifNull(maxOrNullIf(ts, phase = 'resolve'), toDateTime64('2262-01-01', 9, 'UTC'))
                AS ended
        FROM alerts WHERE channel != 'book' OR line = ''
        GROUP BY alert_id, exchange, its_shard, its_line
        HAVING started < {until:DateTime64(9, 'UTC')} AND ended > {since:DateTime64(9, 'UTC')}
    )
    GROUP BY exchange
) AS incidents ON exchange = i_exchange;

-- Of two prices' changes a(t) and b(t) in a second, c(k) is the mean of a(t) b(t + k). Where b does
-- what a did tau seconds ago, and k is tau rounded down, c(k) is 1 - (tau - k) of the variance of a,
-- c(k + 1) the rest, and c of all other lags 0: the sum of k c(k) divided by that of c(k) is tau.
-- What moves one price alone adds nothing to any c, on average.
CREATE VIEW IF NOT EXISTS lead_lag
(
    instrument       LowCardinality(String) COMMENT '[name] Name that all venues share.',
    exchange         LowCardinality(String) COMMENT '[name] Name of the first exchange of the pair: the one that comes first by the alphabet.',
    symbol           LowCardinality(String) COMMENT '[name] Spelling of the first.',
    other_exchange   LowCardinality(String) COMMENT '[name] Name of the other exchange.',
    other_symbol     LowCardinality(String) COMMENT '[name] Spelling of the other.',
    seconds          UInt64                 COMMENT '[count] Seconds that count: the change of the first price is known, and those of the other from five seconds before to five after; known is a change between two seconds whose prices are fresh.',
    correlation      Nullable(Float64)      COMMENT '[number] Of what both prices change by in the same second, -1 to 1; null for fewer than 600 seconds, and where a price never moved.',
    best_lag_s       Nullable(Int16)        COMMENT '[s] By how many seconds, -5 to 5, changes of the other have to come after those of the first to be most like them; null likewise.',
    best_correlation Nullable(Float64)      COMMENT '[number] Correlation at that lag; null likewise. The best of eleven is up to 3 / sqrt(seconds) by chance.',
    lead_s           Nullable(Float64)      COMMENT '[s] How much earlier the price of the first reaches us with what both show, latency of the messages included; negative where that of the other does; null for fewer than 600 seconds, and where what they have in common within five seconds is less than four times its standard error.',
    lead_error_s     Nullable(Float64)      COMMENT '[s] Standard error of lead_s, or more than that where the two prices are nearly one; null with it.'
)
AS WITH
    [-5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5] AS lags,
    returns AS
    (
        SELECT instrument, exchange, symbol, second, bps
        FROM
        (
            SELECT instrument, exchange, symbol, number AS second, assumeNotNull(mid) AS price,
                1e4 * log(price / lagInFrame(price) OVER before) AS bps,
                second - lagInFrame(second) OVER before AS step_s
            FROM venues_1s
            WHERE is_fresh AND mid > 0
                AND ts >= {since:DateTime64(9, 'UTC')} AND ts < {until:DateTime64(9, 'UTC')}
            WINDOW before AS (PARTITION BY instrument, exchange, symbol ORDER BY number
                ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
        )
        WHERE step_s = 1
    ),
    sumForEach(products) AS covariances,
    sqrt(sum(bps * bps) * sum(around[6] * around[6])) AS scale,
    count() >= 600 AS is_enough,
    varPop(common) AS common_variance
SELECT
    instrument, exchange, symbol, other_exchange, other_symbol,
    count() AS seconds,
    if(is_enough AND scale > 0, covariances[6] / scale, NULL) AS correlation,
    if(is_enough AND scale > 0, lags[indexOf(covariances, arrayMax(covariances))], NULL)
        AS best_lag_s,
    if(is_enough AND scale > 0, arrayMax(covariances) / scale, NULL) AS best_correlation,
    if(is_enough AND avg(common) > 4 * sqrt(common_variance / seconds),
        avg(moment) / avg(common), NULL) AS lead_s,
    -- Of a ratio of means, from how its seconds scatter about it. Rounding may leave a variance of
    -- nothing just below zero.
    sqrt(abs(varPop(moment) - 2 * lead_s * covarPop(moment, common)
        + lead_s * lead_s * common_variance) / seconds) / avg(common) AS lead_error_s
FROM
(
    SELECT instrument, exchange, symbol, other_exchange, other_symbol, bps, around,
        arrayMap(other_bps -> bps * other_bps, around) AS products,
        arraySum(products) AS common,
        arraySum((k, product) -> k * product, lags, products) AS moment
    FROM
    (
        SELECT instrument, exchange AS other_exchange, symbol AS other_symbol, second, around
        FROM
        (
            SELECT instrument, exchange, symbol, second,
                groupArray(bps) OVER about AS around,
                max(second) OVER about - min(second) OVER about AS span_s
            FROM returns
            WINDOW about AS (PARTITION BY instrument, exchange, symbol ORDER BY second
                ROWS BETWEEN 5 PRECEDING AND 5 FOLLOWING)
        )
        WHERE length(around) = 11 AND span_s = 10
    ) AS others
    -- Joined to the narrow side: that is the one which is held in memory.
    INNER JOIN returns USING (instrument, second)
    WHERE exchange < other_exchange
)
GROUP BY instrument, exchange, symbol, other_exchange, other_symbol;
