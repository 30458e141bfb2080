"""ClickHouse on this machine: chDB, the ClickHouse engine, behind ClickHouse's HTTP protocol.

The engine runs in a process of its own (`python -m infra.local.clickhouse`), because it is large
and only one process can have a folder open. `ClickHouseServer` in `process` starts and stops it;
importing this package or `process` does not load the engine.
"""
