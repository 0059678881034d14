"""The HTTP doors of ingestion, one module a resource."""
