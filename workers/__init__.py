"""The processes: Celery app, answering and delivery loops, supervisor and command line."""
