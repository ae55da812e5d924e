"""The system as a discrete-event simulation over measured costs: queues and processors, no statement and no socket."""
