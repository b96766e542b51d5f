"""A real Apache Kafka for a laptop and for tests, and the supervisor of local processes.

The first file to read is `broker.py`: it starts one or three brokers on loopback from a data folder. `jars.py` gets
Kafka by Maven, `archive.py` makes its JVM start fast, `layout.py` is what the data folder holds, `processes.py` looks
after child processes, `foreground.py` is the `wapipe broker` role.
"""
