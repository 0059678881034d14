"""What every service runs on: clock, settings, database, logs, migrations. Nothing here knows the business."""
