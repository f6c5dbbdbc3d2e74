// A charge point made of the npm package `ocpp-rpc` in strict mode: its schemas judge what the agent answers and asks.
//
// node charge_point.js URL NAME PASSWORD CARD: a whole 1.6 session. Prints one line a check: `ok WHAT` or `FAIL WHAT: WHY`.
// The agent's program and folder are in STATION_AGENT and STATION_AGENT_FOLDER: what an operator types is typed there.
'use strict';

const { execFile } = require('child_process');
const { RPCClient } = require('ocpp-rpc');

const [url, name, password, card] = process.argv.slice(2);
const START_WH = 910300;
const STOP_WH = 910500;
const PATIENCE_MS = 30000;

function check(what, good, why) {
    console.log(good ? `ok ${what}` : `FAIL ${what}: ${typeof why === 'string' ? why : JSON.stringify(why)}`);
}

function client(secret) {
    return new RPCClient({
        endpoint: url,
        identity: name,
        password: secret,
        protocols: ['ocpp1.6'],
        strictMode: true,
        reconnect: false,
    });
}

function within(promise, what) {
    let timer;
    const late = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error(`no ${what} in time`)), PATIENCE_MS);
    });
    return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

// Types `station-agent charger ...`; its output, or why it failed.
function operator(...args) {
    const { STATION_AGENT, STATION_AGENT_FOLDER } = process.env;
    return new Promise((resolve) => {
        execFile(STATION_AGENT, ['charger', ...args], { cwd: STATION_AGENT_FOLDER }, (error, out) =>
            resolve(error ? String(error) : out.trim()));
    });
}

const now = () => new Date().toISOString();

async function wrongPassword() {
    const what = 'a wrong password gets 401 before the upgrade';
    try {
        await client(`${password.slice(0, -1)}!`).connect();
        check(what, false, 'let in');
    } catch (error) {
        check(what, error.code === 401 || / 401/.test(` ${error.message}`), String(error));
    }
}

async function session() {
    const point = client(password);
    const broken = [];
    point.on('strictValidationFailure', ({ error }) => broken.push(String(error)));
    // The newest request of each kind.
    const asked = {};
    const heard = (kind) => within((async () => {
        while (!asked[kind]) await new Promise((resolve) => setTimeout(resolve, 20));
        const params = asked[kind];
        delete asked[kind];
        return params;
    })(), kind);
    for (const kind of ['RemoteStartTransaction', 'RemoteStopTransaction', 'ReserveNow']) {
        point.handle(kind, ({ params }) => {
            asked[kind] = params;
            return { status: 'Accepted' };
        });
    }
    point.handle('TriggerMessage', () => ({ status: 'NotImplemented' }));
    await within(point.connect(), 'connection');
    check('the subprotocol is chosen', point.protocol === 'ocpp1.6', point.protocol);
    const status = (to) =>
        point.call('StatusNotification', { connectorId: 1, errorCode: 'NoError', status: to, timestamp: now() });

    const boot = await point.call('BootNotification', { chargePointVendor: 'npm', chargePointModel: 'Peer' });
    check('boot is accepted', boot.status === 'Accepted', boot);
    const beat = await point.call('Heartbeat', {});
    check('heartbeat tells the time', Math.abs(new Date(beat.currentTime) - Date.now()) < 60000, beat);
    await status('Available');
    const known = await point.call('Authorize', { idTag: card });
    check("the operator's card may charge", known.idTagInfo.status === 'Accepted', known);
    await status('Preparing');
    const start = await point.call('StartTransaction', {
        connectorId: 1, idTag: card, meterStart: START_WH, timestamp: now(),
    });
    check('a transaction begins', start.idTagInfo.status === 'Accepted' && start.transactionId > 0, start);
    await status('Charging');
    await new Promise((resolve) => setTimeout(resolve, 1000));
    const sampledValue = [{ value: String(START_WH + 100), unit: 'Wh', measurand: 'Energy.Active.Import.Register' }];
    const values = await point.call('MeterValues', {
        connectorId: 1, transactionId: start.transactionId, meterValue: [{ timestamp: now(), sampledValue }],
    });
    check('meter values are taken', Object.keys(values).length === 0, values);
    const stop = await point.call('StopTransaction', {
        transactionId: start.transactionId, meterStop: STOP_WH, timestamp: now(), reason: 'Local', idTag: card,
    });
    check('the transaction ends', typeof stop === 'object', stop);
    await status('Available');

    await status('Preparing');
    const stranger = await point.call('StartTransaction', {
        connectorId: 1, idTag: 'NOBODYS-CARD', meterStart: STOP_WH, timestamp: now(),
    });
    check("a stranger's transaction is told to be invalid", stranger.idTagInfo.status === 'Invalid', stranger);
    const stop1 = await heard('RemoteStopTransaction');
    check('and is stopped from afar', stop1.transactionId === stranger.transactionId, stop1);
    await point.call('StopTransaction', {
        transactionId: stranger.transactionId, meterStop: STOP_WH, timestamp: now(), reason: 'Remote',
    });
    await status('Available');

    const reserved = await operator('reserve', name, '--evse', '1', '--token', 'A-DRIVERS-TOKEN');
    check('a reservation from afar is accepted', reserved === 'Accepted', reserved);
    const reserve = await heard('ReserveNow');
    check("and names the driver's token", reserve.idTag === 'A-DRIVERS-TOKEN' && reserve.connectorId === 1, reserve);
    const begun = await operator('start', name, '--evse', '1', '--token', 'A-DRIVERS-TOKEN', '--limit-w', '11000');
    check('a start from afar is accepted', begun === 'Accepted', begun);
    const remote = await heard('RemoteStartTransaction');
    const limit = remote.chargingProfile.chargingSchedule.chargingSchedulePeriod[0].limit;
    check('and names token and limit', remote.idTag === 'A-DRIVERS-TOKEN' && limit === 11000, remote);
    await status('Preparing');
    const driver = await point.call('StartTransaction', {
        connectorId: 1, idTag: remote.idTag, meterStart: STOP_WH, timestamp: now(), reservationId: reserve.reservationId,
    });
    check("the driver's transaction begins", driver.idTagInfo.status === 'Accepted', driver);
    await new Promise((resolve) => setTimeout(resolve, 1000));
    const ended = await operator('stop', name, String(driver.transactionId));
    check('a stop from afar is accepted', ended === 'Accepted', ended);
    const stop2 = await heard('RemoteStopTransaction');
    check('and names the transaction', stop2.transactionId === driver.transactionId, stop2);
    await point.call('StopTransaction', {
        transactionId: driver.transactionId, meterStop: STOP_WH + 100, timestamp: now(), reason: 'Remote',
    });
    await status('Available');
    check('strict mode has nothing to object to', broken.length === 0, broken);
    await point.close();
}

(async () => {
    await wrongPassword();
    try {
        await session();
        check('the session goes to its end', true);
    } catch (error) {
        check('the session goes to its end', false, String(error));
    }
    process.exit(0);
})();
