"""Which version of the runtime specification is spoken here."""

OCI_VERSION = "1.2.0"
