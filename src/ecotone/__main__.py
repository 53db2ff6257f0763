"""``python -m ecotone``: the command line, for torchrun."""

from ecotone.cli import main

main()
