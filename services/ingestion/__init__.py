"""Ingestion: what may enter. Formats, validation, identity, quarantine, what is set, and the calendar."""
