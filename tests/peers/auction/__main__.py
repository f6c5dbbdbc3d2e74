"""A second verifier of ohmesh auctions: slow, and with nothing but Python's standard library.

    station-agent auction export ID --out auction.json
    python3 tests/peers/auction [--json] auction.json...

For each file it prints the winner and the price that it recomputed, or the name of the first thing that is wrong; the
exit status is 1 if anything was. It checks every proof there is:

    key       verifying shares of one secret, the equality proof of each blinding share; H follows from them
    intent    the buyer knows its key, Q is the square of the position; ranges of position, reserve and table of roads
    bid       one r in C and D; range
    release   each share against its verifying share
    outcome   the link to the ledgered bids in their order, the proof of who set a second score; ranges

It does not check who may send what, nor that these are the ledger's bytes: `station-agent auction verify` does.
"""

import json
import sys

from checks import A_BYTES, Auction, EpochKey, PRICE_MAX, ROAD_SQUARES, STEP, Wrong
from messages import Bid, Intent, Key, Malformed, Outcome, Release

FORMAT = "ohmesh auction 1"


def message(kind, exported, name):
    try:
        return kind(bytes.fromhex(exported["bytes"]))
    except Malformed as error:
        raise Wrong(f"{name}: Decode") from error


def verified(exported):
    """The verdict on an export: what `station-agent auction verify` says of the same bytes."""
    if exported["format"] != FORMAT:
        raise Wrong("export: Format")
    key = EpochKey(message(Key, exported["key"], "key"))
    check_key_fields(exported, key)
    intent = message(Intent, exported["intent"], "intent")
    auction = Auction(key, intent)
    if auction.id.hex() != exported["auction"]:
        raise Wrong("intent: Id")
    check_fields(exported, intent)
    opened = exported["intent"]["height"]
    for at, one in enumerate(exported["bids"]):
        bid = message(Bid, one, f"bid {at}")
        if one["time"] >= intent.terms.deadline:
            raise Wrong(f"bid {at}: Late")
        bid.x, bid.y = one["ledgered"]["position"]["x"], one["ledgered"]["position"]["y"]
        auction.take_bid(bid)
        named = [one["ledgered"][name] for name in ("station", "c", "d")]
        if named != [part.hex() for part in (bid.station, bid.c[0], bid.d[0])]:
            raise Wrong(f"bid {at}: Fields")
    for at, one in enumerate(exported["releases"]):
        check_due(intent.terms, one, opened, f"release {at}")
        auction.take_release(at, message(Release, one, f"release {at}"))
    auction.open()
    won = decided(auction, exported, opened)
    check_ledger(exported["ledger"], won)
    return auction, won


def decided(auction, exported, opened):
    """What the last outcome says, over the bids that stood when it came: winners that did not come are struck out."""
    outcomes = exported["earlier"] + [one for one in [exported["outcome"]] if one is not None]
    absent = exported["no_shows"]
    if len(outcomes) <= len(absent):
        raise Wrong("outcome: Absent")
    for at, one in enumerate(outcomes):
        outcome = message(Outcome, one, "outcome")
        check_due(auction.terms, one, opened, "outcome")
        won = auction.decide(outcome)
        if at < len(absent):
            if won is None or won[1].hex() != absent[at]:
                raise Wrong("outcome: NoShow")
            auction.strike(won[0])
    return won


def check_due(terms, one, opened, name):
    if not terms.is_due(one["time"], one["height"] - opened):
        raise Wrong(f"{name}: Early")


def check_key_fields(exported, key):
    shown = exported["key"]
    if shown["A"] != A_BYTES.hex():
        raise Wrong("key: A")
    if shown["H"] != key.h[0].hex():
        raise Wrong("key: H")
    verifying = [share["T"] for share in shown["shares"]]
    if verifying != [data.hex() for data, _ in key.verifying] or shown["threshold"] != key.threshold:
        raise Wrong("key: Fields")
    if exported["zone"] != key.zone.hex() or shown["epoch"] != key.epoch:
        raise Wrong("key: Fields")


def check_fields(exported, intent):
    """The named fields are what the bytes say."""
    terms, score, shown = intent.terms, exported["score"], exported["intent"]
    integers = {
        "energy_kwh": terms.energy,
        "tick_micro_per_kwh": terms.tick,
        "price_max_ticks": PRICE_MAX,
        "detour_weight": terms.weight,
        "road_squares": ROAD_SQUARES,
        "second_score_step": STEP,
    }
    if score != integers:
        raise Wrong("score: Fields")
    points = {"pk": intent.pk, "x": intent.x, "y": intent.y, "q": intent.q, "reserve": intent.reserve}
    if shown["commitments"] != {name: point[0].hex() for name, point in points.items()}:
        raise Wrong("intent: Fields")
    same = ("key_epoch", "area", "energy", "deadline", "blocks_min", "kappa", "tick")
    if [shown["terms"][name] for name in same] != [getattr(terms, name) for name in same]:
        raise Wrong("intent: Fields")


def check_ledger(ledger, won):
    named = ledger["winner"]
    if won is None:
        same = named is None and ledger["nobody_eligible"]
    else:
        bid, station, price = won
        same = named == {"bid": bid, "station": station.hex(), "price_micro_per_kwh": price}
    if not same:
        raise Wrong("ledger: Winner")


def verdict(exported):
    """What is printed of an export."""
    try:
        auction, won = verified(exported)
    except Wrong as wrong:
        return {"ok": False, "wrong": str(wrong)}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return {"ok": False, "wrong": f"export: {type(error).__name__} {error}"}
    bid, station, price = (won[0], won[1].hex(), won[2]) if won else (None, None, None)
    whole = {"ok": True, "auction": auction.id.hex(), "bids": len(auction.bids)}
    return {**whole, "bid": bid, "station": station, "price_micro_per_kwh": price}


def sentence(found):
    if not found["ok"]:
        return f"BAD: {found['wrong']}"
    if found["bid"] is None:
        return f"OK: auction {found['auction']}: none of {found['bids']} bids is within the reserve"
    price = f"{found['price_micro_per_kwh']} micro-units a kWh"
    winner = f"bid {found['bid']} of {found['bids']}, station {found['station']}"
    return f"OK: auction {found['auction']}: {winner}, at {price}"


def main():
    arguments = sys.argv[1:]
    files = [argument for argument in arguments if argument != "--json"]
    if not files or any(name.startswith("-") for name in files):
        sys.exit("usage: python3 tests/peers/auction [--json] FILE...")
    all_ok = True
    for name in files:
        with open(name, encoding="utf-8") as file:
            try:
                found = verdict(json.load(file))
            except ValueError as error:
                found = {"ok": False, "wrong": f"export: {error}"}
        all_ok &= found["ok"]
        print(json.dumps(found) if "--json" in arguments else f"{name}: {sentence(found)}", flush=True)
    sys.exit(0 if all_ok else 1)


main()
