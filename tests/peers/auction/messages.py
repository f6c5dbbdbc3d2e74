"""The messages of an auction out of their canonical bytes: a version byte, then postcard.

Whatever is not the one encoding of a message is refused. Points and scalars are decoded here; the identity is no
point.
"""

from group import ORDER, decoded, is_identity

ROADS_MAX, BIDS_MAX, SHARES_MAX, AWARD_BYTES = 64, 256, 32, 177
PRICING, CHOICE = ("first", "second"), ("best", "own", "road")
KAPPAS = (0, 1, 4, 16, 64, 256, 1024, 2047)


class Malformed(Exception):
    """Bytes that are no message."""


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0
        if self.byte() != 1:
            raise Malformed("unknown version")

    def take(self, length):
        part = self.data[self.at : self.at + length]
        if len(part) != length:
            raise Malformed("it ends early")
        self.at += length
        return part

    def byte(self):
        return self.take(1)[0]

    def end(self):
        if self.at != len(self.data):
            raise Malformed("something follows it")

    def number(self, bits):
        """Seven bits a byte, the lowest first, in as few bytes as will do."""
        value, shift = 0, 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
        if value >> bits or (byte == 0 and shift):
            raise Malformed("a number is too large, or not in its shortest form")
        return value

    def within(self, bits, low, high):
        value = self.number(bits)
        if not low <= value <= high:
            raise Malformed(f"{value} is not within {low} and {high}")
        return value

    def one_of(self, names):
        return names[self.within(32, 0, len(names) - 1)]

    def several(self, read):
        return [read() for _ in range(self.number(32))]

    def octets(self):
        return self.take(self.number(32))

    def point(self):
        """The bytes of a point, and the point."""
        data = self.take(32)
        point = decoded(data)
        if point is None or is_identity(point):
            raise Malformed(f"{data.hex()} is no point")
        return data, point

    def scalar(self):
        value = int.from_bytes(self.take(32), "little")
        if value >= ORDER:
            raise Malformed("a scalar is not canonical")
        return value

    def linear(self, secrets):
        """Challenge, and a response for each secret."""
        return self.scalar(), [self.scalar() for _ in range(secrets)]


class Key:
    def __init__(self, data):
        reader = Reader(data)
        self.zone, self.epoch = reader.take(32), reader.number(64)
        self.owners = reader.several(lambda: reader.number(16))
        self.verifying = reader.several(reader.point)
        self.blinding = reader.several(lambda: self.share(reader))
        reader.end()
        self.threshold = len(self.owners) * 2 // 3 + 1
        count, lengths = len(self.owners), {len(self.owners), len(self.verifying), len(self.blinding)}
        in_order = self.owners == sorted(self.owners) and (count == 1 or len(set(self.owners)) > 1)
        if not 1 <= count <= SHARES_MAX or len(lengths) != 1 or not in_order:
            raise Malformed("the shares are not in order, or too many")

    @staticmethod
    def share(reader):
        there = reader.byte()
        if there > 1:
            raise Malformed("an option is neither there nor not")
        return (reader.point(), reader.linear(1)) if there else None

    def indices(self, validator):
        return [at + 1 for at, owner in enumerate(self.owners) if owner == validator]


class Terms:
    def __init__(self, reader):
        self.zone, self.key_epoch, self.area = reader.take(32), reader.number(64), reader.number(64)
        self.energy = reader.within(16, 1, (1 << 14) - 1)
        self.deadline, self.blocks_min = reader.number(64), reader.number(16)
        self.kappa, self.renewable_min = reader.byte(), reader.byte()
        self.connectors, self.power_min = reader.within(16, 1, 0xFFFF), reader.number(32)
        self.tick = reader.within(32, 1, 0xFFFFFFFF)
        self.pricing, self.choice = reader.one_of(PRICING), reader.one_of(CHOICE)
        self.buyer = reader.take(32)
        if self.kappa >= len(KAPPAS) or self.renewable_min > 100:
            raise Malformed("a term is out of its range")
        self.weight = KAPPAS[self.kappa]

    def is_due(self, time, blocks):
        return time >= self.deadline and blocks >= self.blocks_min


class Intent:
    def __init__(self, data):
        reader = Reader(data)
        self.bytes, self.terms = data, Terms(reader)
        self.pk, self.x, self.y, self.q, self.reserve = (reader.point() for _ in range(5))
        self.body = data[1 : reader.at]
        self.proof = reader.linear(6)
        self.position_range, self.reserve_range = reader.octets(), reader.octets()
        self.roads = self.roads_range = None
        if self.terms.choice == "road":
            begin = reader.at
            self.roads = reader.several(lambda: (reader.take(32), reader.point()))
            self.body += data[begin : reader.at]
            self.roads_range = reader.octets()
        reader.end()

    def road(self, station):
        return dict(self.roads or []).get(station)


class Bid:
    def __init__(self, data):
        reader = Reader(data)
        self.auction, self.station = reader.take(32), reader.take(32)
        self.c, self.d = reader.point(), reader.point()
        self.link, self.range = reader.linear(2), reader.octets()
        reader.end()
        self.x = self.y = None


class Release:
    def __init__(self, data):
        reader = Reader(data)
        self.auction, self.validator = reader.take(32), reader.number(16)
        self.shares = reader.several(lambda: (reader.several(reader.point), reader.linear(1)))
        reader.end()


class Outcome:
    KINDS = ("best", "own", "nobody", "second")

    def __init__(self, data):
        reader = Reader(data)
        self.auction = reader.take(32)
        begin = reader.at
        self.kind = reader.one_of(self.KINDS)
        self.bid = self.station = self.price = self.steps = self.award = None
        if self.kind != "nobody":
            self.bid, self.station = reader.number(16), reader.take(32)
            if self.kind == "second":
                self.steps = reader.number(16)
            else:
                self.price = reader.number(16)
            self.encapsulated, self.award = reader.take(32), reader.octets()
        self.decision = data[begin : reader.at]
        self.differences = reader.several(reader.point)
        self.link, self.range = reader.linear(2), reader.octets()
        self.setter = reader.several(lambda: (reader.scalar(), reader.scalar())) if self.kind == "second" else None
        reader.end()
