"""The chart and the Compose file against the code and a real helm."""
