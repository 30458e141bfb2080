-- Fields of a venue's messages that are new or gone.

ALTER TABLE faults MODIFY COLUMN kind Enum16('sequence_gap' = 1, 'checksum_mismatch' = 2, 'crossed_book' = 3, 'audit_mismatch' = 4, 'trade_gap' = 5, 'decode_error' = 6, 'unknown_symbol' = 7, 'subscription_rejected' = 8, 'exchange_error' = 9, 'disconnected' = 10, 'connect_failed' = 11, 'request_failed' = 12, 'frames_lost' = 13, 'chain_broken' = 14, 'frames_dropped' = 15, 'buffer_overflow' = 16, 'snapshot_too_old' = 17, 'unrepresentable' = 18, 'unexpected_binary' = 19, 'maintenance' = 20, 'schema_drift' = 21) COMMENT '[enum] What was wrong.';
ALTER TABLE faults MODIFY COLUMN unit LowCardinality(String) COMMENT '[name] trades, update_ids, frames, fields, or empty.';
