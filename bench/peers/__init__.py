"""Ours beside the peers: ``comparison`` is the command, ``cuda`` that of the one peer that draws on a GPU."""
