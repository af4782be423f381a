"""Colours for values from -1 to 1: red, white, blue, which people with any colour vision can tell apart."""

from __future__ import annotations

from html import escape

import numpy as np

_NEGATIVE, _POSITIVE = (178, 24, 43), (33, 102, 172)  # the ends of ColorBrewer's RdBu


def shade(value: float) -> tuple[str, str]:
    """Background for ``value`` in -1..1, and a colour that can be read on it, both as ``"#rrggbb"``."""
    share = min(abs(value), 1.0)
    end = _POSITIVE if value > 0 else _NEGATIVE
    background = "#" + "".join(f"{round(255 + (channel - 255) * share):02x}" for channel in end)
    return background, "#ffffff" if share > 0.6 else "#000000"


def relative(values: np.ndarray) -> np.ndarray:
    """``values`` as shares of the largest of them, signs kept; zeros where all are zero."""
    largest = np.abs(values).max(initial=0.0)
    return values / largest if largest else np.zeros_like(values)


def html(token: str, value: float, title: str) -> str:
    """``token`` on the shade of ``value``, with ``title`` under the mouse."""
    background, foreground = shade(value)
    style = f"background:{background};color:{foreground};padding:1px 2px;border-radius:2px"
    return f'<span style="{style}" title="{escape(title)}">{escape(token)}</span>'
