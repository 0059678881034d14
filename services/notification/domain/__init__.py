"""What a message says and when it is sent again: pure, with no clock, no socket and no database."""
