"""Models that listen: sound goes in as it comes, words come out when they are heard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lstm_zoo.streaming.detection import Detector, Event

if TYPE_CHECKING:
    from lstm_zoo.streaming.stream import Answer, Stream

__all__ = ["Answer", "Detector", "Event", "Stream"]


def __getattr__(name: str) -> Any:
    """``Stream`` needs TensorFlow, which the command line's help does without."""
    if name not in ("Answer", "Stream"):
        raise AttributeError(f"module 'lstm_zoo.streaming' has no attribute {name!r}; there are: {', '.join(__all__)}")
    from lstm_zoo.streaming import stream

    return getattr(stream, name)
