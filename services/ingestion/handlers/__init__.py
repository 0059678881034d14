"""Commands: load what stands, decide, append."""
