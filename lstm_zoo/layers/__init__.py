"""LSTM layers whose gates can be chosen, for every backend of Keras.

    >>> from lstm_zoo.layers import GatedLSTM
    >>> layer = GatedLSTM(128, gates="peephole", return_sequences=True)
    >>> print(layer.explain((None, 49, 40)))

- :class:`GatedLSTM` takes the place of ``keras.layers.LSTM``; :data:`VARIANTS` are its gates by name, and
  :func:`register_gates` adds one of your own.
- :class:`MinLSTM`, :class:`SLSTM` and :class:`MLSTM` are recurrent layers of the same family.
"""

from lstm_zoo.layers.gated_lstm import GatedLSTM
from lstm_zoo.layers.gates import VARIANTS, Gates, register_gates
from lstm_zoo.layers.min_lstm import MinLSTM
from lstm_zoo.layers.mlstm import MLSTM
from lstm_zoo.layers.paths import Explanation
from lstm_zoo.layers.slstm import SLSTM

__all__ = ["MLSTM", "SLSTM", "VARIANTS", "Explanation", "GatedLSTM", "Gates", "MinLSTM", "register_gates"]
