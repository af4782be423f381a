"""Looking into a model: which words moved its decision, and what its gates did.

>>> import lstm_zoo
>>> model = lstm_zoo.get("sentiment")
>>> lstm_zoo.inspect.words(model, "Slow at first, but what an ending!").plot()
>>> lstm_zoo.inspect.gates(model, "Slow at first, but what an ending!").plot()
"""

from lstm_zoo.inspect.gates import GateValues, gates
from lstm_zoo.inspect.words import WordScores, words

__all__ = ["GateValues", "WordScores", "gates", "words"]
