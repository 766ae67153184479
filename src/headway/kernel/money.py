"""Money is integers: a request to a small model costs less than a millionth of a dollar.

What a key may spend is told in micro-dollars, what was spent in nano-dollars, and a rate in
pico-dollars per token, which is micro-dollars per million tokens.
"""

from typing import Final

MICRO_OF_DOLLAR: Final = 1_000_000
NANO_OF_DOLLAR: Final = 1_000_000_000
NANO_OF_MICRO: Final = 1_000
PICO_OF_NANO: Final = 1_000
