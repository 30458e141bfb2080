"""Contracts: Avro schemas, their codec, topic names and the ClickHouse tables.

It knows bytes and structs. It must not do network I/O.
"""
