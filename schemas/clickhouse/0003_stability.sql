-- The judgement of every stream second: state and score, with what explains them.
-- Rows from before have null.

ALTER TABLE stability_1s ADD COLUMN IF NOT EXISTS gap_max_ns Nullable(Int64) COMMENT '[ns] Longest time between two frames of which the later one came in the window; null where there was none.' AFTER paused_ns;
ALTER TABLE stability_1s ADD COLUMN IF NOT EXISTS state Nullable(Enum8('down' = 0, 'connecting' = 1, 'syncing' = 2, 'stable' = 3, 'degraded' = 4, 'unstable' = 5)) COMMENT '[enum] What the stream may be used for; null in rows from before there was a state.' AFTER gap_max_ns;
ALTER TABLE stability_1s ADD COLUMN IF NOT EXISTS is_blind Bool COMMENT '[flag] Our own pipeline did not see all that came, so the state stands still.' AFTER state;
ALTER TABLE stability_1s ADD COLUMN IF NOT EXISTS score Nullable(Float64) COMMENT '[score] Stability; null in rows from before there was a score.' AFTER is_blind;
ALTER TABLE stability_1s ADD COLUMN IF NOT EXISTS score_version Int64 COMMENT '[id] Version of the parameters of the score; 0 where there is none.' AFTER score;
ALTER TABLE stability_1s ADD COLUMN IF NOT EXISTS score_binding Nullable(Enum8('liveness' = 1, 'integrity' = 2, 'latency' = 3, 'book' = 4, 'continuity' = 5, 'order' = 6, 'jitter' = 7)) COMMENT '[enum] Component that keeps the score down; null where none does.' AFTER score_version;
ALTER TABLE stability_1s ADD COLUMN IF NOT EXISTS score_badness Nullable(Float64) COMMENT '[number] How bad that component is, in score_unit; null without one.' AFTER score_binding;
ALTER TABLE stability_1s ADD COLUMN IF NOT EXISTS score_threshold Nullable(Float64) COMMENT '[number] From where on its badness counts, in score_unit; null without one.' AFTER score_badness;
ALTER TABLE stability_1s ADD COLUMN IF NOT EXISTS score_unit LowCardinality(String) COMMENT '[name] Unit of score_badness and score_threshold; empty without one.' AFTER score_threshold;
ALTER TABLE stability_1s ADD COLUMN IF NOT EXISTS score_liveness Nullable(Float64) COMMENT '[ratio] Silence against the rhythm of the stream itself, 0 bad to 1 good; null while there is nothing to judge by.' AFTER score_unit;
ALTER TABLE stability_1s ADD COLUMN IF NOT EXISTS score_integrity Nullable(Float64) COMMENT '[ratio] Lost or wrongly summed messages, 0 bad to 1 good; null while there is nothing to judge by.' AFTER score_liveness;
ALTER TABLE stability_1s ADD COLUMN IF NOT EXISTS score_latency Nullable(Float64) COMMENT '[ratio] Latency above its floor, 0 bad to 1 good; null while there is nothing to judge by.' AFTER score_integrity;
ALTER TABLE stability_1s ADD COLUMN IF NOT EXISTS score_book Nullable(Float64) COMMENT '[ratio] Time with a book known to be wrong, 0 bad to 1 good; null while there is nothing to judge by.' AFTER score_latency;
ALTER TABLE stability_1s ADD COLUMN IF NOT EXISTS score_continuity Nullable(Float64) COMMENT '[ratio] Time in which nothing could be published, 0 bad to 1 good; null while there is nothing to judge by.' AFTER score_book;
ALTER TABLE stability_1s ADD COLUMN IF NOT EXISTS score_order Nullable(Float64) COMMENT '[ratio] Repeated and late messages, 0 bad to 1 good; null while there is nothing to judge by.' AFTER score_continuity;
ALTER TABLE stability_1s ADD COLUMN IF NOT EXISTS score_jitter Nullable(Float64) COMMENT '[ratio] Variation of the latency, 0 bad to 1 good; null while there is nothing to judge by.' AFTER score_order;
ALTER TABLE stability_1s COMMENT COLUMN channel '[name] connection, data (all market data of it), book or trades.';
ALTER TABLE stability_1s COMMENT COLUMN symbol '[name] Spelling of the venue; empty for the connection and its data.';
