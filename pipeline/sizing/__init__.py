"""How much it takes: processes, partitions, memory, disk and time for a demand, from measured costs. Pure.

`costs.toml` holds what was measured and what is assumed, with where it comes from; `plan` turns a demand into a fleet;
`growth` says which limit is met first as numbers are added; `simulation` lets messages queue, and things fail.
"""
