-- How regularly the venue's heartbeats come. Rows from before have 0 and null.

ALTER TABLE stability_1s ADD COLUMN IF NOT EXISTS heartbeats Int64 COMMENT '[count] Heartbeats and protocol pings that the venue sent by itself, channel connection.' AFTER clock_uncertainty_ns;
ALTER TABLE stability_1s ADD COLUMN IF NOT EXISTS heartbeat_interval_p50_ns Nullable(Int64) COMMENT '[ns] Median time between two of them, of those that ended in the window; null where none did.' AFTER heartbeats;
ALTER TABLE stability_1s ADD COLUMN IF NOT EXISTS heartbeat_interval_max_ns Nullable(Int64) COMMENT '[ns] Longest time between two of them, of those that ended in the window; null where none did.' AFTER heartbeat_interval_p50_ns;
