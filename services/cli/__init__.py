"""The front door: every command of ``plumbline``. It speaks HTTP to the services, and starts and stops the platform."""
