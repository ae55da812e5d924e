"""A folder for PYTHONPATH: its ``sitecustomize`` sets a process's wall clock wrong before anything else is imported."""
