-- Venues compared with one another: incidents of their prices.

ALTER TABLE alerts MODIFY COLUMN kind Enum16('disconnected' = 1, 'silence' = 2, 'data_silence' = 3, 'stream_silence' = 4, 'gap' = 5, 'checksum' = 6, 'duplicates' = 7, 'reordering' = 8, 'latency' = 9, 'jitter' = 10, 'crossed_book' = 11, 'schema' = 12, 'rejected' = 13, 'book_down' = 14, 'pipeline' = 15, 'log_broken' = 16, 'clock' = 17, 'local_clock' = 18, 'divergence' = 19, 'frozen_price' = 20) COMMENT '[enum] What is wrong.';
