"""The Celery side: messages come in, runs are claimed, executed and finished, and the relay sends what is due."""
