"""Who may call: tenants, their API keys, and the check that every service makes of a request."""
