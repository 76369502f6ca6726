"""The Docker Engine API on a socket, in front of the engine: what docker's daemon answers."""
