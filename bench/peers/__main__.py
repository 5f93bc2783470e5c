"""``python -m bench.peers`` is ``bench.peers.comparison``."""

from bench.peers.comparison import main

main()
