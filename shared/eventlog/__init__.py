"""The log: gapless, idempotent for ever, append-only by privilege and trigger (protocols.md sections 1 to 4)."""
