"""Relays (log to Kafka) and consumers (Kafka, and the log wherever Kafka falls short, to exactly-once effects)."""
