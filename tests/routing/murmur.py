"""MurmurHash3 x86_32 written from its published description: the vectors are made with this one.

`python tests/routing/murmur.py > tests/routing/vectors.json` makes the file anew; a change in it
moves units between versions of every installation.
"""

import json
import random
import sys

MASK = 0xFFFFFFFF


def murmur3_x86_32(data: bytes, seed: int = 0) -> int:
    h = seed
    rounded = len(data) & ~3
    for i in range(0, rounded, 4):
        h ^= scramble(int.from_bytes(data[i : i + 4], "little"))
        h = (h << 13 | h >> 19) & MASK
        h = (h * 5 + 0xE6546B64) & MASK
    if len(data) > rounded:
        h ^= scramble(int.from_bytes(data[rounded:], "little"))
    h ^= len(data)
    h = ((h ^ h >> 16) * 0x85EBCA6B) & MASK
    h = ((h ^ h >> 13) * 0xC2B2AE35) & MASK
    return h ^ h >> 16


def scramble(k: int) -> int:
    k = (k * 0xCC9E2D51) & MASK
    k = (k << 15 | k >> 17) & MASK
    return (k * 0x1B873593) & MASK


def bucket(salt: str, unit: str) -> int:
    return murmur3_x86_32(f"{salt}:{unit}".encode()) * 10_000 >> 32


def vectors() -> list[list[str | int]]:
    chance = random.Random(20)
    made = [("", ""), ("salt", ""), ("", "unit"), ("dep_0192", "user-1"), ("s", "Jörg 🦉 東京")]
    letters = "abcdefghijklmnopqrstuvwxyz0123456789-_:äß€漢🙂"
    for length in range(60):
        salt = f"dep_{chance.getrandbits(64):016x}"
        made.append((salt, "".join(chance.choice(letters) for _ in range(length))))
    return [[salt, unit, bucket(salt, unit)] for salt, unit in made]


if __name__ == "__main__":
    json.dump(vectors(), sys.stdout, indent=0, ensure_ascii=False)
