"""Every proof of an auction, in the order in which its messages came.

The names of what is wrong are those of the ledger's own errors.
"""

import functools

import ranges
from blake3 import hashed
from group import G, IDENTITY, ORDER, added, combined, encoded, is_identity, is_x25519_key, mapped, negated, times
from messages import AWARD_BYTES, BIDS_MAX, ROADS_MAX
from transcript import Transcript

STEP = 1 << 14
PRICE_MAX = (1 << 16) - 1
ROAD_SQUARES = 8
A = mapped(hashed(b"ohmesh/1 auction base A", b"", 64))
A_BYTES = encoded(A)


class Wrong(Exception):
    """The name of what is wrong."""


def equal(one, other):
    return is_identity(added(one, negated(other)))


@functools.cache
def protocol():
    return Transcript(b"ohmesh/auction/1")


def begun(proof, zone, epoch):
    transcript = protocol().copied()
    transcript.append(b"proof", proof)
    transcript.append(b"zone", zone)
    transcript.append_number(b"epoch", epoch)
    return transcript


def follows(proof, relations, transcript):
    """Whether a linear proof holds. A relation is an image, and the terms (number of a secret, base) it sums up."""
    claimed, responses = proof
    for image, terms in relations:
        scalars = [responses[number] for number, _ in terms] + [-claimed]
        announcement = combined(scalars, [base for _, base in terms] + [image])
        transcript.append(b"announcement", encoded(announcement))
    return transcript.challenge(b"challenge") == claimed


def lagrange(xs, at):
    """What each value counts in the value at `at`."""
    coefficients = []
    for x in xs:
        numerator = denominator = 1
        for other in xs:
            if other != x:
                numerator, denominator = numerator * (other - at) % ORDER, denominator * (other - x) % ORDER
        coefficients.append(numerator * pow(denominator, -1, ORDER) % ORDER)
    return coefficients


class EpochKey:
    """A key whose H follows from its shares."""

    def __init__(self, key):
        self.zone, self.epoch, self.threshold = key.zone, key.epoch, key.threshold
        self.verifying, self.indices = key.verifying, key.indices
        first = list(range(1, key.threshold + 1))
        for index in range(key.threshold + 1, len(key.owners) + 1):
            expected = combined(lagrange(first, index), [point for _, point in key.verifying[: key.threshold]])
            if encoded(expected) != key.verifying[index - 1][0]:
                raise Wrong("key: VerifyingShare")
        known = [at for at, share in enumerate(key.blinding) if share]
        for at in known:
            self.check_blinding(at + 1, key.verifying[at], *key.blinding[at])
        if len(known) < key.threshold:
            raise Wrong("key: TooFewBlindingShares")
        known = known[: key.threshold]
        h = combined(lagrange([at + 1 for at in known], 0), [key.blinding[at][0][1] for at in known])
        if is_identity(h):
            raise Wrong("key: TooFewBlindingShares")
        self.h = encoded(h), h

    def check_blinding(self, index, verifying, blinding, proof):
        transcript = begun(b"blinding share", self.zone, self.epoch)
        transcript.append_number(b"share", index)
        transcript.append(b"T", verifying[0])
        transcript.append(b"A", blinding[0])
        if not follows(proof, [(verifying[1], [(0, G)]), (blinding[1], [(0, A)])], transcript):
            raise Wrong("key: BlindingShare")


class Auction:
    """An auction whose intent holds; the rest is checked message by message."""

    def __init__(self, key, intent):
        self.key, self.intent, self.terms = key, intent, intent.terms
        self.id = hashed(b"ohmesh/1 auction", intent.bytes)
        self.bids, self.shares, self.opening = [], {}, []
        terms = intent.terms
        if terms.zone != key.zone:
            raise Wrong("intent: Zone")
        if terms.key_epoch != key.epoch:
            raise Wrong("intent: Epoch")
        if terms.pricing == "second" and terms.choice == "own":
            raise Wrong("intent: PricingRule")
        self.check_intent()

    def transcript(self, proof, auction, prover):
        transcript = begun(proof, self.key.zone, self.key.epoch)
        transcript.append(b"H", self.key.h[0])
        transcript.append(b"buyer", self.terms.buyer)
        transcript.append(b"auction", auction)
        transcript.append(b"prover", prover)
        return transcript

    def ranges_hold(self, width, points, proof, transcript):
        return ranges.hold(width, points, proof, self.key.h, transcript)

    def check_intent(self):
        intent, h = self.intent, self.key.h[1]
        (x, y), roads = (intent.x[1], intent.y[1]), intent.roads
        transcript = self.transcript(b"intent", hashed(b"ohmesh/1 intent body", intent.body), self.terms.buyer)
        relations = [
            (A, [(0, intent.pk[1])]),
            (x, [(1, G), (2, h)]),
            (y, [(3, G), (4, h)]),
            (intent.q[1], [(1, x), (3, y), (5, h)]),
        ]
        if not follows(intent.proof, relations, transcript):
            raise Wrong("intent: Proof")
        if not self.ranges_hold(ranges.POSITION, [intent.x, intent.y], intent.position_range, transcript):
            raise Wrong("intent: PositionRange")
        if not self.ranges_hold(ranges.RESERVE, [intent.reserve], intent.reserve_range, transcript):
            raise Wrong("intent: ReserveRange")
        if roads is not None:
            stations = [station for station, _ in roads]
            if len(roads) > ROADS_MAX or any(one >= next for one, next in zip(stations, stations[1:])):
                raise Wrong("intent: Road")
            if not self.ranges_hold(ranges.ROAD, [point for _, point in roads], intent.roads_range, transcript):
                raise Wrong("intent: Road")

    def take_bid(self, bid):
        at, h = f"bid {len(self.bids)}: ", self.key.h[1]
        if bid.auction != self.id:
            raise Wrong(at + "OtherAuction")
        if not (-256 <= bid.x < 512 and -256 <= bid.y < 512):
            raise Wrong(at + "NotEligible")
        if any(other.station == bid.station for other in self.bids):
            raise Wrong(at + "Twice")
        if len(self.bids) == BIDS_MAX:
            raise Wrong(at + "Full")
        transcript = self.transcript(b"bid", self.id, bid.station)
        transcript.append(b"C", bid.c[0])
        transcript.append(b"D", bid.d[0])
        relations = [(bid.c[1], [(0, G), (1, h)]), (bid.d[1], [(1, self.intent.pk[1])])]
        if not follows(bid.link, relations, transcript):
            raise Wrong(at + "Link")
        if not self.ranges_hold(ranges.PRICE, [bid.c], bid.range, transcript):
            raise Wrong(at + "Range")
        self.bids.append(bid)

    def take_release(self, number, release):
        at, indices = f"release {number}: ", self.key.indices(release.validator)
        if not self.bids:
            raise Wrong(at + "NoBids")
        if release.auction != self.id:
            raise Wrong(at + "OtherAuction")
        shapes = [len(points) for points, _ in release.shares]
        if not indices or shapes != [len(self.bids)] * len(indices):
            raise Wrong(at + "Shape")
        for index, (points, proof) in zip(indices, release.shares):
            if not self.is_released(release.validator, index, points, proof):
                raise Wrong(at + "WrongShare")
            self.shares[index] = points

    def is_released(self, validator, index, points, proof):
        verifying = self.key.verifying[index - 1]
        prover = validator.to_bytes(2, "big") + bytes([index])
        transcript = self.transcript(b"release", self.id, prover)
        transcript.append(b"T", verifying[0])
        transcript.append_number(b"bids", len(self.bids))
        for bid, point in zip(self.bids, points):
            transcript.append(b"D", bid.d[0])
            transcript.append(b"W", point[0])
        rho = transcript.challenge(b"rho")
        weights = [pow(rho, power, ORDER) for power in range(1, len(points) + 1)]
        locks = combined(weights, [bid.d[1] for bid in self.bids])
        released = combined(weights, [point for _, point in points])
        return follows(proof, [(verifying[1], [(0, G)]), (released, [(0, locks)])], transcript)

    def open(self):
        """W of every bid, from the first shares that suffice."""
        if not self.bids:
            return
        indices = sorted(self.shares)[: self.key.threshold]
        if len(indices) < self.key.threshold:
            raise Wrong("opening: TooFewShares")
        coefficients = lagrange(indices, 0)
        for at in range(len(self.bids)):
            self.opening.append(combined(coefficients, [self.shares[index][at][1] for index in indices]))

    def strike(self, bid):
        """The winner did not come: its bid no longer counts."""
        del self.bids[bid], self.opening[bid]

    def decide(self, outcome):
        """Checks the outcome; answers (bid, station, micro-units a kWh), or None if nobody was eligible."""
        if outcome.auction != self.id:
            raise Wrong("outcome: OtherAuction")
        self.check_rules(outcome)
        if outcome.kind != "nobody":
            if outcome.bid >= len(self.bids) or self.bids[outcome.bid].station != outcome.station:
                raise Wrong("outcome: NoSuchBid")
            if len(outcome.award) != AWARD_BYTES:
                raise Wrong("outcome: AwardLength")
            if not is_x25519_key(outcome.encapsulated):
                raise Wrong("outcome: AwardKey")
        forms = self.forms(outcome)
        if len(forms) != len(outcome.differences):
            raise Wrong("outcome: DifferenceCount")
        transcript = self.outcome_transcript(outcome)
        if not follows(outcome.link, self.relations(outcome, forms, transcript.challenge(b"rho")), transcript):
            raise Wrong("outcome: Link")
        if outcome.kind == "second" and not self.is_set(outcome, transcript):
            raise Wrong("outcome: Setter")
        if not self.ranges_hold(ranges.SCORE, outcome.differences, outcome.range, transcript):
            raise Wrong("outcome: Range")
        return None if outcome.kind == "nobody" else (outcome.bid, outcome.station, self.price(outcome))

    def check_rules(self, outcome):
        if outcome.kind == "nobody":
            return
        if (outcome.kind == "own") != (self.terms.choice == "own"):
            raise Wrong("outcome: ChoiceRule")
        if (outcome.kind == "second") != (self.terms.pricing == "second"):
            raise Wrong("outcome: PricingRule")

    def price(self, outcome):
        if outcome.kind != "second":
            return outcome.price * self.terms.tick
        total = min(outcome.steps * STEP, PRICE_MAX * self.terms.energy) * self.terms.tick
        return (2 * total + self.terms.energy) // (2 * self.terms.energy)

    def outcome_transcript(self, outcome):
        transcript = self.transcript(b"outcome", self.id, self.terms.buyer)
        transcript.append(b"decision", outcome.decision)
        transcript.append_number(b"bids", len(self.bids))
        for bid, opened in zip(self.bids, self.opening):
            transcript.append(b"station", bid.station)
            transcript.append(b"x", bid.x.to_bytes(4, "big", signed=True))
            transcript.append(b"y", bid.y.to_bytes(4, "big", signed=True))
            transcript.append(b"C", bid.c[0])
            transcript.append(b"D", bid.d[0])
            transcript.append(b"W", encoded(opened))
        transcript.append_number(b"differences", len(outcome.differences))
        for data, _ in outcome.differences:
            transcript.append(b"V", data)
        return transcript

    def forms(self, outcome):
        """What each commitment of the outcome must hide: how often each term counts.

        Terms are ("score", bid), ("detour", bid), ("hidden", place of a commitment), "reserve" and "one". An empty
        form is any number.
        """
        bids, winner = range(len(self.bids)), outcome.bid
        if outcome.kind == "own":
            return []
        if outcome.kind == "nobody":
            return [{("score", at): 1, "reserve": -1, "one": -1} for at in bids]
        others = [at for at in bids if at != winner]
        if outcome.kind == "best":
            least = {("score", winner): -1}
            forms = [{("score", at): 1, **least, "one": -int(at < winner)} for at in others]
            return forms + [{"reserve": 1, **least}]
        remainder, tie = ("hidden", len(bids) + 4), ("hidden", len(bids) + 5)
        units = outcome.steps * STEP
        below = {"one": -units, ("detour", winner): -1, remainder: 1}
        forms = [{("score", at): 1, **below, **({tie: -1} if at < winner else {})} for at in others]
        forms.append({"reserve": 1, **below})
        # The winner's score at the cap: its detour is on both sides.
        forms.append({"one": PRICE_MAX * self.terms.energy - units, remainder: 1})
        margin = {"one": units, ("detour", winner): 1, remainder: -1, ("score", winner): -1}
        forms.append(margin)
        forms.append({"one": STEP - 1, remainder: -1})
        forms.append({**margin, "one": units - 1, tie: 1})
        return forms + [{}, {}]

    def relations(self, outcome, forms, rho):
        """A = b*pk; L = b*B + z*H; and, where the winner's price is shown, C_w - price*G = b*W_w."""
        left, right, weight = IDENTITY, IDENTITY, 1
        scalars, points = [], []
        scores = [0] * len(self.bids)
        for place, form in enumerate(forms):
            weight = weight * rho % ORDER
            for term, count in form.items():
                part = weight * count % ORDER
                if isinstance(term, tuple) and term[0] == "score":
                    scores[term[1]] += part
                scalars_of, points_of = self.committed(term, part, outcome)
                scalars, points = scalars + scalars_of, points + points_of
            if form:
                scalars.append(-weight)
                points.append(outcome.differences[place][1])
        left = combined(scalars, points)
        right = combined([self.terms.energy * score for score in scores], self.opening)
        relations = [(A, [(0, self.intent.pk[1])]), (left, [(0, right), (1, self.key.h[1])])]
        if outcome.price is not None:
            hidden = added(self.bids[outcome.bid].c[1], negated(times(outcome.price, G)))
            relations.append((hidden, [(0, self.opening[outcome.bid])]))
        return relations

    def committed(self, term, count, outcome):
        """The commitment to a term, `count` times: scalars and points."""
        if term == "one":
            return [count], [G]
        if term == "reserve":
            return [count], [self.intent.reserve[1]]
        kind, at = term
        if kind == "hidden":
            return [count], [outcome.differences[at][1]]
        scalars, points = self.detour(self.bids[at])
        scalars = [count * scalar for scalar in scalars]
        if kind == "score":
            scalars, points = scalars + [count * self.terms.energy], points + [self.bids[at].c[1]]
        return scalars, points

    def detour(self, bid):
        """weight * ((x - a)^2 + (y - c)^2), or the table's entry: scalars and the commitments they multiply."""
        weight, entry = self.terms.weight, self.intent.road(bid.station)
        if entry:
            return [weight * ROAD_SQUARES], [entry[1]]
        a, c = bid.x, bid.y
        scalars = [weight, -2 * weight * a, -2 * weight * c, weight * (a * a + c * c)]
        return scalars, [self.intent.q[1], self.intent.x[1], self.intent.y[1], G]

    def is_set(self, outcome, transcript):
        """Whether one of the other bids, the reserve and the cap is the second score, without a word about which."""
        points = [point for _, point in outcome.differences]
        count = len(self.bids) + 1
        setters = [added(point, points[-1]) if at < outcome.bid else point for at, point in enumerate(points[:count])]
        if len(setters) != len(outcome.setter):
            return False
        for (claimed, response), setter in zip(outcome.setter, setters):
            announcement = combined([response, -claimed], [self.key.h[1], setter])
            transcript.append(b"announcement", encoded(announcement))
        return transcript.challenge(b"challenge") == sum(claimed for claimed, _ in outcome.setter) % ORDER
