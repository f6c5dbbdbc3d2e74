"""Merlin 1.0 transcripts over STROBE-128 and Keccak-f[1600]."""

import copy
import struct

from group import ORDER

MASK = (1 << 64) - 1
RATE = 166
FLAG_I, FLAG_A, FLAG_C, FLAG_M = 1, 2, 4, 16


def rotated(lane, by):
    return (lane << by | lane >> (64 - by)) & MASK if by else lane


def constants():
    """Rotations of lanes and constants of rounds, by the recurrences that define them."""
    offsets, x, y = [0] * 25, 1, 0
    for step in range(24):
        offsets[x + 5 * y] = (step + 1) * (step + 2) // 2 % 64
        x, y = y, (2 * x + 3 * y) % 5
    rounds, register = [], 1
    for _ in range(24):
        constant = 0
        for bit in range(7):
            constant |= (register & 1) << ((1 << bit) - 1)
            register = register << 1 ^ (0x171 if register & 0x80 else 0)
        rounds.append(constant)
    return offsets, rounds


OFFSETS, ROUNDS = constants()
MOVES = [(y + 5 * ((2 * x + 3 * y) % 5), x + 5 * y, OFFSETS[x + 5 * y]) for x in range(5) for y in range(5)]


def permuted(data):
    lanes = list(struct.unpack("<25Q", data))
    for constant in ROUNDS:
        parity = [lanes[x] ^ lanes[x + 5] ^ lanes[x + 10] ^ lanes[x + 15] ^ lanes[x + 20] for x in range(5)]
        mixed = [parity[x - 1] ^ rotated(parity[(x + 1) % 5], 1) for x in range(5)]
        moved = [0] * 25
        for to, source, by in MOVES:
            moved[to] = rotated(lanes[source] ^ mixed[source % 5], by)
        for row in range(0, 25, 5):
            five = moved[row : row + 5]
            for x in range(5):
                lanes[row + x] = five[x] ^ (~five[(x + 1) % 5] & MASK & five[(x + 2) % 5])
        lanes[0] ^= constant
    return bytearray(struct.pack("<25Q", *lanes))


class Strobe:
    def __init__(self, label):
        head = bytes([1, RATE + 2, 1, 0, 1, 96]) + b"STROBEv1.0.2"
        self.state = permuted(head.ljust(200, b"\0"))
        self.at = self.begun = 0
        self.meta(label)

    def run(self):
        self.state[self.at] ^= self.begun
        self.state[self.at + 1] ^= 0x04
        self.state[RATE + 1] ^= 0x80
        self.state = permuted(self.state)
        self.at = self.begun = 0

    def step(self):
        self.at += 1
        if self.at == RATE:
            self.run()

    def absorb(self, data):
        for byte in data:
            self.state[self.at] ^= byte
            self.step()

    def begin(self, flags):
        before, self.begun = self.begun, self.at + 1
        self.absorb(bytes([before, flags]))
        if flags & FLAG_C and self.at:
            self.run()

    def meta(self, *parts):
        self.begin(FLAG_M | FLAG_A)
        self.absorb(b"".join(parts))

    def given(self, data):
        self.begin(FLAG_A)
        self.absorb(data)

    def drawn(self, length):
        self.begin(FLAG_I | FLAG_A | FLAG_C)
        out = bytearray()
        for _ in range(length):
            out.append(self.state[self.at])
            self.state[self.at] = 0
            self.step()
        return bytes(out)


class Transcript:
    def __init__(self, label):
        self.strobe = Strobe(b"Merlin v1.0")
        self.append(b"dom-sep", label)

    def copied(self):
        return copy.deepcopy(self)

    def append(self, label, message):
        self.strobe.meta(label, struct.pack("<I", len(message)))
        self.strobe.given(message)

    def append_number(self, label, number):
        self.append(label, struct.pack("<Q", number))

    def challenge(self, label):
        """The next challenge, as a scalar."""
        self.strobe.meta(label, struct.pack("<I", 64))
        return int.from_bytes(self.strobe.drawn(64), "little") % ORDER
