"""Pure building blocks: canonical bytes, identities, money, periods. No I/O, no clock, no randomness."""
