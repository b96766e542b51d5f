"""The command line: one file per command group, thin over the rooms that do the work."""
