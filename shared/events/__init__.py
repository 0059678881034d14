"""The typed records: what each type says, its topic, its writer, and its canonical bytes. Pure."""
