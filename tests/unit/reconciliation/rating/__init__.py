"""Rating: every worked example by its figures, and what must hold for any terms."""
