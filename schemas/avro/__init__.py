"""The Avro schemas of every topic, one `.avsc` file each."""
