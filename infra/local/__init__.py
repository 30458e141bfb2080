"""The servers a machine without Docker or Java can run: Apache Kafka and the ClickHouse engine.

Each stands behind the protocol of the real thing, on 127.0.0.1 only, so nothing that talks to it
can tell. This package starts and stops them; it knows nothing of topics, tables or settings files.
"""
