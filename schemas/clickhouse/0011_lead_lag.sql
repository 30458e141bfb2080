-- What venues' prices say of trades.

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
