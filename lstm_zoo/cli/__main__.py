"""``python -m lstm_zoo.cli``, where the ``lstm-zoo`` command is not on the path."""

from lstm_zoo.cli import main

main()
