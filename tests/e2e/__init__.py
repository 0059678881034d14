"""The running system, through its front door."""
