"""Rules of a client's level: what can only be said of a whole document, or of commitments over several groups."""
