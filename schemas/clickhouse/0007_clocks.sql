-- The venue's clock against ours, and incidents of clocks. Rows from before have null.

ALTER TABLE stability_1s ADD COLUMN IF NOT EXISTS clock_offset_ns Nullable(Int64) COMMENT '[ns] Clock of the venue minus wall clock of the producer, channels connection and data; null where the venue has told no time on this socket.' AFTER gap_max_ns;
ALTER TABLE stability_1s ADD COLUMN IF NOT EXISTS clock_uncertainty_ns Nullable(Int64) COMMENT '[ns] How far clock_offset_ns may be off; null where that is.' AFTER clock_offset_ns;
ALTER TABLE alerts MODIFY COLUMN kind Enum16('disconnected' = 1, 'silence' = 2, 'data_silence' = 3, 'stream_silence' = 4, 'gap' = 5, 'checksum' = 6, 'duplicates' = 7, 'reordering' = 8, 'latency' = 9, 'jitter' = 10, 'crossed_book' = 11, 'schema' = 12, 'rejected' = 13, 'book_down' = 14, 'pipeline' = 15, 'log_broken' = 16, 'clock' = 17, 'local_clock' = 18) COMMENT '[enum] What is wrong.';
