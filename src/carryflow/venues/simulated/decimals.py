"""Numbers as a venue writes them: plain decimals that read back to the very same float64."""

import numpy as np


def plain(value: float) -> str:
    """Return the shortest decimal, without an exponent, that reads back to the same float64.

    >>> plain(95161.1), plain(1e-06), plain(-0.00034), plain(5.0)
    ('95161.1', '0.000001', '-0.00034', '5.0')
    """
    text = repr(float(value))
    return np.format_float_positional(value, trim="0") if "e" in text else text
