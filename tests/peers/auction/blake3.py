"""BLAKE3 in keyed mode, with output of any length; slow, written after the paper's description."""

import struct

IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
ORDER = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
COLUMNS = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15))
DIAGONALS = ((0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))
CHUNK_START, CHUNK_END, PARENT, ROOT, KEYED = 1, 2, 4, 8, 16
WORD = 0xFFFFFFFF


def rotated(word, by):
    return (word >> by | word << (32 - by)) & WORD


def compress(chain, block, length, counter, flags):
    words = list(struct.unpack("<16I", block.ljust(64, b"\0")))
    state = [*chain, *IV[:4], counter & WORD, counter >> 32, length, flags]
    for number in range(7):
        for at, (a, b, c, d) in enumerate(COLUMNS + DIAGONALS):
            for word, (first, second) in zip(words[2 * at : 2 * at + 2], ((16, 12), (8, 7))):
                state[a] = (state[a] + state[b] + word) & WORD
                state[d] = rotated(state[d] ^ state[a], first)
                state[c] = (state[c] + state[d]) & WORD
                state[b] = rotated(state[b] ^ state[c], second)
        words = [words[at] for at in ORDER]
    return [state[at] ^ state[at + 8] for at in range(8)] + [state[at + 8] ^ chain[at] for at in range(8)]


class Node:
    """A compression whose output is still to be taken: as a chaining value, or, of the root, as bytes."""

    def __init__(self, chain, block, counter, flags):
        self.parts = chain, block, len(block), counter, flags

    def value(self):
        return compress(*self.parts)[:8]

    def output(self, length):
        chain, block, size, _, flags = self.parts
        blocks = (compress(chain, block, size, at, flags | ROOT) for at in range(-(-length // 64)))
        return b"".join(struct.pack("<16I", *words) for words in blocks)[:length]


def chunk(key, data, counter):
    chain = key
    blocks = [data[at : at + 64] for at in range(0, len(data), 64)] or [b""]
    for at, block in enumerate(blocks):
        flags = KEYED | (CHUNK_START if at == 0 else 0) | (CHUNK_END if at == len(blocks) - 1 else 0)
        node = Node(chain, block, counter, flags)
        chain = node.value() if at < len(blocks) - 1 else chain
    return node


def tree(key, data, first):
    """The node over `data`, whose first chunk has the number `first`."""
    if len(data) <= 1024:
        return chunk(key, data, first)
    chunks = -(-len(data) // 1024)
    left = 1 << (chunks - 1).bit_length() - 1
    values = tree(key, data[: left * 1024], first).value() + tree(key, data[left * 1024 :], first + left).value()
    return Node(key, struct.pack("<16I", *values), 0, KEYED | PARENT)


def hashed(domain, data, length=32):
    """The hash of `data` for the use named `domain`."""
    key = struct.unpack("<8I", domain.ljust(32, b"\0"))
    return tree(list(key), data, 0).output(length)
