"""The version of the library and of its pixels."""

__version__ = "0.1.0"

PIXEL_CONTRACT = 1
"""Raised whenever the bytes of any position change; golden hashes in the tests are kept under it."""
