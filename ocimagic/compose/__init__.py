"""Compose: a file that names services, and what has to be done to have them run.

A file goes through values only: text with places (``reading``), variables (``interpolate``),
one form for each thing (``normal``), files over files (``merge``), checks (``stance``,
``schema``), types (``service``), and a plan of what differs from what is there (``plan``).
Then ``project`` does it with the engine's public verbs.

Spec: the Compose Specification, compose-spec 05-services.md and its neighbours.
"""
