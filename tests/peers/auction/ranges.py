"""Range proofs: Bulletproofs+ (Chung, Han, Ju, Kim, Seo 2020), verified one by one.

What is checked is one sum of points that must be zero: the weighted inner product argument, unrolled. Its commitments
are filled up to a power of two by repeating the last; its challenges are y, z, one of each round, and e.
"""

import functools
import hashlib
import struct

from group import G, ORDER, combined, decoded, encoded, is_identity, mapped

# Bits, and commitments of one proof at most.
POSITION, PRICE, RESERVE, ROAD, SCORE = (8, 2), (16, 1), (32, 1), (16, 16), (32, 16)
BITS_MAX = 32


def size(width, count):
    """Bytes of the proofs for so many commitments."""
    bits, most = width
    full, rest = divmod(count, most)
    return sum(chunk_size(bits, number) for number in [most] * full + ([rest] if rest else []))


def chunk_size(bits, count):
    return 1 + 32 * (6 + 2 * ((bits * filled(count)).bit_length() - 1))


def filled(count):
    return 1 << (count - 1).bit_length()


@functools.cache
def generators(letter, party):
    """Each party has its own stream; fewer bits take its beginning."""
    label = b"GeneratorsChain" + letter + struct.pack("<I", party)
    stream = hashlib.shake_256(label).digest(64 * BITS_MAX)
    return [mapped(stream[at : at + 64]) for at in range(0, len(stream), 64)]


def hold(width, points, proof, h, transcript):
    """Whether every one of `points` (with their bytes) commits under `h` to a number of the width."""
    bits, most = width
    if len(proof) != size(width, len(points)):
        return False
    for at in range(0, len(points), most):
        chunk = points[at : at + most]
        length = chunk_size(bits, len(chunk))
        own = transcript.copied()
        own.append_number(b"range bits", bits)
        own.append_number(b"range chunk", at // most)
        if not holds(bits, chunk, proof[:length], h, own):
            return False
        proof = proof[length:]
    return True


class Proof:
    """Degree, then scalar d1; points A, A1, B; scalars r1, s1; then points L and R of each round."""

    def __init__(self, data):
        parts = [data[at : at + 32] for at in range(1, len(data), 32)]
        self.scalars = [int.from_bytes(parts[at], "little") for at in (0, 4, 5)]
        self.bytes = parts[1:4]
        self.rounds = list(zip(parts[6::2], parts[7::2], strict=True))
        self.is_formed = data[0] == 1 and all(scalar < ORDER for scalar in self.scalars)

    def points(self):
        """All points, or None if one is none."""
        points = [decoded(data) for data in self.bytes + [part for pair in self.rounds for part in pair]]
        return None if any(point is None or is_identity(point) for point in points) else points


def holds(bits, points, data, h, transcript):
    points = points + points[-1:] * (filled(len(points)) - len(points))
    proof = Proof(data)
    own = proof.points() if proof.is_formed else None
    if own is None:
        return False
    challenges = drawn(bits, points, proof, h, transcript)
    if 0 in challenges:
        return False
    scalars, bases = terms(bits, points, proof, own, h, challenges)
    return is_identity(combined(scalars, bases))


def drawn(bits, points, proof, h, transcript):
    transcript.append(b"dom-sep", b"Bulletproofs+ Range Proof")
    transcript.append(b"H", encoded(G))
    transcript.append(b"G", h[0])
    for label, number in ((b"N", bits), (b"T", 1), (b"M", len(points))):
        transcript.append_number(label, number)
    for data, _ in points:
        transcript.append(b"Ci", data)
    for _ in points:
        transcript.append_number(b"vi - minimum_value", 0)
    a, a1, b = proof.bytes
    transcript.append(b"A", a)
    challenges = [transcript.challenge(b"y"), transcript.challenge(b"z")]
    for left, right in proof.rounds:
        transcript.append(b"L", left)
        transcript.append(b"R", right)
        challenges.append(transcript.challenge(b"e"))
    transcript.append(b"A1", a1)
    transcript.append(b"B", b)
    return challenges + [transcript.challenge(b"e")]


def terms(bits, points, proof, own, h, challenges):
    """Scalars and points of the sum that must be zero."""
    y, z, *rounds, e = challenges
    d1, r1, s1 = proof.scalars
    (a, a1, b), folded = own[:3], own[3:]
    count, total = len(points), bits * len(points)
    e2, z2, y_inverse = e * e % ORDER, z * z % ORDER, pow(y, -1, ORDER)
    y_end = pow(y, total + 1, ORDER)
    fold = folding(rounds)
    # d_i = z^(2(j+1)) * 2^k for bit k of commitment j.
    digits = [pow(z2, j + 1, ORDER) << k for j in range(count) for k in range(bits)]
    powers = [y]
    while len(powers) < total:
        powers.append(powers[-1] * y % ORDER)
    scalars, bases = [], []
    y_back = 1
    for i in range(total):
        scalars.append(r1 * e * y_back * fold[i] + e2 * z)
        scalars.append(s1 * e * fold[total - 1 - i] - e2 * (digits[i] * powers[total - 1 - i] + z))
        bases += [generators(b"G", i // bits)[i % bits], generators(b"H", i // bits)[i % bits]]
        y_back = y_back * y_inverse % ORDER
    for j, (_, point) in enumerate(points):
        scalars.append(-e2 * y_end * pow(z2, j + 1, ORDER))
        bases.append(point)
    constant = y_end * z * sum(digits) + (z2 - z) * sum(powers)
    scalars += [r1 * y * s1 + e2 * constant, d1, -e, -1, -e2]
    bases += [G, h[1], a1, b, a]
    for at, c in enumerate(rounds):
        scalars += [-e2 * c * c, -e2 * pow(c, -2, ORDER)]
        bases += folded[2 * at : 2 * at + 2]
    return scalars, bases


def folding(rounds):
    """How often each generator is in the one that all rounds fold into: c where its bit is set, 1/c where not."""
    factors = [1]
    for c in rounds:
        inverse = pow(c, -1, ORDER)
        factors = [factor * side % ORDER for factor in factors for side in (inverse, c)]
    return factors
