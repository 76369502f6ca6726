"""Magics of IPython: what ``%load_ext ocimagic`` brings."""

from ocimagic.magics.registration import load, unload

__all__ = ["load", "unload"]
