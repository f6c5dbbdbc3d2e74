"""A charge point made of the PyPI package `ocpp`, which checks both directions against the standard's schemas.

charge_point.py {1.6,2.0.1} URL NAME PASSWORD CARD: a whole session. Prints one line a check: `ok WHAT` or `FAIL WHAT: WHY`.
The agent's program and folder are in STATION_AGENT and STATION_AGENT_FOLDER: what an operator types is typed there.
"""

import asyncio
import base64
import json
import logging
import os
import sys
from datetime import datetime, timezone

import websockets
from ocpp.routing import on
from ocpp.v16 import ChargePoint as ChargePoint16, call as call16, call_result as result16
from ocpp.v201 import ChargePoint as ChargePoint201, call as call201, call_result as result201

STRANGER = "NOBODYS-CARD"
DRIVER = "A-DRIVERS-TOKEN"
# What the register shows at the start and at the end; the outlet delivers this in a second.
START_WH, STOP_WH = 910_000, 910_300
PATIENCE_S = 30

logging.getLogger("ocpp").setLevel(logging.ERROR)


def now():
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def check(what, good, why=""):
    print(f"ok {what}" if good else f"FAIL {what}: {why}", flush=True)


class Asked:
    """What the other side has asked for."""

    def __init__(self):
        self.stops = asyncio.Queue()
        self.starts = asyncio.Queue()
        self.reservations = asyncio.Queue()


async def operator(*args):
    """Types `station-agent charger ...`; exit code and output."""
    program, folder = os.environ["STATION_AGENT"], os.environ["STATION_AGENT_FOLDER"]
    pipe = asyncio.subprocess.PIPE
    done = await asyncio.create_subprocess_exec(program, "charger", *args, cwd=folder, stdout=pipe, stderr=pipe)
    out, error = await asyncio.wait_for(done.communicate(), PATIENCE_S)
    return done.returncode, (out + error).decode().strip()


async def reserve_and_start(name, asked):
    """What the operator does for a driver, and what the charger hears of it."""
    done = await operator("reserve", name, "--evse", "1", "--token", DRIVER)
    check("a reservation from afar is accepted", done == (0, "Accepted"), done)
    reserved = await asyncio.wait_for(asked.reservations.get(), PATIENCE_S)
    check("and names the driver's token", reserved == DRIVER, reserved)
    done = await operator("start", name, "--evse", "1", "--token", DRIVER, "--limit-w", "11000")
    check("a start from afar is accepted", done == (0, "Accepted"), done)
    return await asyncio.wait_for(asked.starts.get(), PATIENCE_S)


async def remote_stop(name, transaction, asked):
    done = await operator("list", "--json")
    shown = [open["key"] for open in json.loads(done[1])[name]["open"]]
    check("the operator sees the transaction", shown == [str(transaction)], done)
    done = await operator("stop", name, str(transaction))
    check("a stop from afar is accepted", done == (0, "Accepted"), done)
    asked_for = await asyncio.wait_for(asked.stops.get(), PATIENCE_S)
    check("and names the transaction", asked_for == transaction, asked_for)


def limit_of(periods):
    return periods and periods[0]["limit"]


class V16(ChargePoint16):
    @on("RemoteStopTransaction")
    def on_stop(self, transaction_id):
        self.asked.stops.put_nowait(transaction_id)
        return result16.RemoteStopTransaction(status="Accepted")

    @on("RemoteStartTransaction")
    def on_start(self, id_tag, connector_id=None, charging_profile=None):
        self.asked.starts.put_nowait((id_tag, connector_id, charging_profile))
        return result16.RemoteStartTransaction(status="Accepted")

    @on("ReserveNow")
    def on_reserve(self, connector_id, expiry_date, id_tag, reservation_id, **_):
        self.asked.reservations.put_nowait(id_tag)
        return result16.ReserveNow(status="Accepted")

    @on("TriggerMessage")
    def on_trigger(self, requested_message, **_):
        return result16.TriggerMessage(status="NotImplemented")

    async def say(self, payload):
        return await self.call(payload, suppress=False)

    async def status(self, status):
        await self.say(call16.StatusNotification(1, "NoError", status, timestamp=now()))

    async def session(self, card):
        boot = await self.say(call16.BootNotification(charge_point_model="Peer", charge_point_vendor="PyPI"))
        check("boot is accepted", boot.status == "Accepted", boot)
        beat = await self.say(call16.Heartbeat())
        ahead = abs(datetime.fromisoformat(beat.current_time.replace("Z", "+00:00")).timestamp()
                    - datetime.now(timezone.utc).timestamp())
        check("heartbeat tells the time", ahead < 60, beat)
        await self.status("Available")
        known = await self.say(call16.Authorize(card))
        check("the operator's card may charge", known.id_tag_info["status"] == "Accepted", known)
        unknown = await self.say(call16.Authorize(STRANGER))
        check("a stranger's card may not", unknown.id_tag_info["status"] == "Invalid", unknown)
        await self.status("Preparing")
        start = await self.say(call16.StartTransaction(1, card, START_WH, now()))
        good = start.id_tag_info["status"] == "Accepted" and start.transaction_id > 0
        check("a transaction begins", good, start)
        await self.status("Charging")
        await asyncio.sleep(1)
        await self.say(call16.MeterValues(1, [{
            "timestamp": now(),
            "sampledValue": [
                {"value": str(START_WH + 200), "unit": "Wh", "measurand": "Energy.Active.Import.Register"},
                {"value": "11.5", "unit": "kW", "measurand": "Power.Active.Import"},
            ],
        }], start.transaction_id))
        check("meter values are taken", True)
        stop = await self.say(call16.StopTransaction(STOP_WH, now(), start.transaction_id, "Local", card))
        check("the transaction ends", stop is not None, stop)
        again = await self.say(call16.StopTransaction(STOP_WH, now(), start.transaction_id, "Local", card))
        check("its end sent twice is taken twice", again is not None, again)
        await self.status("Finishing")
        await self.status("Available")

        await self.status("Preparing")
        start = await self.say(call16.StartTransaction(1, STRANGER, STOP_WH, now()))
        check("a stranger's transaction is told to be invalid", start.id_tag_info["status"] == "Invalid", start)
        asked = await asyncio.wait_for(self.asked.stops.get(), PATIENCE_S)
        check("and is stopped from afar", asked == start.transaction_id, asked)
        await self.say(call16.StopTransaction(STOP_WH, now(), start.transaction_id, "Remote"))
        await self.status("Available")

        token, connector, profile = await reserve_and_start(self.id, self.asked)
        check("and names token, connector and limit", (token, connector) == (DRIVER, 1) and limit_of(
            profile and profile["charging_schedule"]["charging_schedule_period"]) == 11000, (token, connector, profile))
        await self.status("Preparing")
        start = await self.say(call16.StartTransaction(1, DRIVER, STOP_WH, now(), reservation_id=1))
        check("the driver's transaction begins", start.id_tag_info["status"] == "Accepted", start)
        await asyncio.sleep(1)
        await remote_stop(self.id, start.transaction_id, self.asked)
        await self.say(call16.StopTransaction(STOP_WH + 100, now(), start.transaction_id, "Remote"))
        await self.status("Available")
        foreign = await self.say(call16.StopTransaction(STOP_WH, now(), 1, "Local"))
        check("the end of a transaction that never was is answered", foreign is not None, foreign)


class V201(ChargePoint201):
    @on("RequestStopTransaction")
    def on_stop(self, transaction_id, **_):
        self.asked.stops.put_nowait(transaction_id)
        return result201.RequestStopTransaction(status="Accepted")

    @on("RequestStartTransaction")
    def on_start(self, id_token, remote_start_id, evse_id=None, charging_profile=None, **_):
        self.asked.starts.put_nowait((id_token["id_token"], evse_id, charging_profile, remote_start_id))
        return result201.RequestStartTransaction(status="Accepted")

    @on("ReserveNow")
    def on_reserve(self, id, expiry_date_time, id_token, **_):
        self.asked.reservations.put_nowait(id_token["id_token"])
        return result201.ReserveNow(status="Accepted")

    @on("TriggerMessage")
    def on_trigger(self, requested_message, **_):
        return result201.TriggerMessage(status="NotImplemented")

    async def say(self, payload):
        return await self.call(payload, suppress=False)

    async def status(self, status):
        await self.say(call201.StatusNotification(now(), status, 1, 1))

    async def event(self, kind, why, number, transaction, register, card=None, **info):
        reading = {"value": register, "measurand": "Energy.Active.Import.Register", "unitOfMeasure": {"unit": "Wh"}}
        context = {"Started": "Transaction.Begin", "Ended": "Transaction.End"}.get(kind, "Sample.Periodic")
        return await self.say(call201.TransactionEvent(
            event_type=kind,
            timestamp=now(),
            trigger_reason=why,
            seq_no=number,
            transaction_info={"transactionId": transaction, **info},
            meter_value=[{"timestamp": now(), "sampledValue": [{**reading, "context": context}]}],
            evse={"id": 1, "connectorId": 1},
            id_token=card and {"idToken": card, "type": "ISO14443"},
        ))

    async def session(self, card):
        boot = await self.say(call201.BootNotification({"model": "Peer", "vendorName": "PyPI"}, "PowerUp"))
        check("boot is accepted", boot.status == "Accepted", boot)
        beat = await self.say(call201.Heartbeat())
        check("heartbeat tells the time", beat.current_time.endswith("Z"), beat)
        await self.status("Available")
        known = await self.say(call201.Authorize({"idToken": card, "type": "ISO14443"}))
        check("the operator's card may charge", known.id_token_info["status"] == "Accepted", known)
        unknown = await self.say(call201.Authorize({"idToken": STRANGER, "type": "ISO14443"}))
        check("a stranger's card may not", unknown.id_token_info["status"] == "Invalid", unknown)
        await self.status("Occupied")
        first = f"peer-{datetime.now(timezone.utc).timestamp()}"
        start = await self.event("Started", "Authorized", 0, first, START_WH, card, chargingState="Charging")
        check("a transaction begins", start.id_token_info["status"] == "Accepted", start)
        await asyncio.sleep(1)
        await self.event("Updated", "MeterValuePeriodic", 1, first, START_WH + 200, chargingState="Charging")
        check("meter values are taken", True)
        stop = await self.event("Ended", "StopAuthorized", 2, first, STOP_WH, card, stoppedReason="Local")
        check("the transaction ends", stop is not None, stop)
        again = await self.event("Ended", "StopAuthorized", 2, first, STOP_WH, card, stoppedReason="Local")
        check("its end sent twice is taken twice", again is not None, again)
        await self.status("Available")

        await self.status("Occupied")
        second = first + "-stranger"
        start = await self.event("Started", "Authorized", 0, second, STOP_WH, STRANGER, chargingState="EVConnected")
        check("a stranger's transaction is told to be invalid", start.id_token_info["status"] == "Invalid", start)
        asked = await asyncio.wait_for(self.asked.stops.get(), PATIENCE_S)
        check("and is stopped from afar", asked == second, asked)
        await self.event("Ended", "RemoteStop", 1, second, STOP_WH, stoppedReason="Remote")
        await self.status("Available")

        token, evse, profile, remote = await reserve_and_start(self.id, self.asked)
        check("and names token, EVSE and limit", (token, evse) == (DRIVER, 1) and limit_of(
            profile and profile["charging_schedule"][0]["charging_schedule_period"]) == 11000, (token, evse, profile))
        await self.status("Occupied")
        third = first + "-driver"
        start = await self.event("Started", "RemoteStart", 0, third, STOP_WH, DRIVER, remoteStartId=remote)
        check("the driver's transaction begins", start.id_token_info["status"] == "Accepted", start)
        await asyncio.sleep(1)
        await remote_stop(self.id, third, self.asked)
        await self.event("Ended", "RemoteStop", 1, third, STOP_WH + 100, stoppedReason="Remote")
        await self.status("Available")


async def connect(url, name, password, protocol):
    basic = base64.b64encode(f"{name}:{password}".encode()).decode()
    return await websockets.connect(
        f"{url}/{name}", subprotocols=[protocol], additional_headers={"Authorization": f"Basic {basic}"}
    )


async def main(version, url, name, password, card):
    protocol = f"ocpp{version}"
    try:
        await connect(url, name, password[:-1] + "!", protocol)
        check("a wrong password gets 401 before the upgrade", False, "let in")
    except websockets.InvalidStatus as refused:
        status = refused.response.status_code
        check("a wrong password gets 401 before the upgrade", status == 401, status)
    socket = await connect(url, name, password, protocol)
    check("the subprotocol is chosen", socket.subprotocol == protocol, socket.subprotocol)
    point = {"1.6": V16, "2.0.1": V201}[version](name, socket, PATIENCE_S)
    point.asked = Asked()
    reader = asyncio.create_task(point.start())
    try:
        await point.session(card)
    except Exception as error:
        check("the session goes to its end", False, f"{type(error).__name__}: {error}")
    else:
        check("the session goes to its end", not reader.done(), reader)
    reader.cancel()
    await socket.close()


asyncio.run(main(*sys.argv[1:]))
