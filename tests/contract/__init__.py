"""Contract tests: schemas, recorded webhooks and error bodies; adding a case is adding a file."""
