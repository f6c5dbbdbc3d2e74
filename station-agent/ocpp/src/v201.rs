//! OCPP 2.0.1 messages (part 2, section "Messages"; data types ibid.).
//!
//! The same rule as in [`crate::v16`]: plain fields are needed, [`Due`] ones are salvaged without.

use crate::json::Json;
use crate::wire::{Decimal, Due, Text, message, words};
use ohmesh_units::Timestamp;

pub use crate::v16::{
    Availability, BootAnswer, BootStatus, DataStatus, Empty, Heartbeat, HeartbeatAnswer, ProfileKind,
    RateUnit, SchedulePeriod, SecurityEventNotification,
};

message!(
    /// What a charger says first after it connects.
    BootNotification("BootNotification" => BootAnswer) {
        /// Why it booted.
        reason: Due<BootReason> = "reason",
        /// What it is.
        station: Due<ChargingStation> = "chargingStation",
    }
);

words!(
    /// Why a charger booted.
    BootReason {
        ApplicationReset = "ApplicationReset", FirmwareUpdate = "FirmwareUpdate", LocalReset = "LocalReset",
        PowerUp = "PowerUp", RemoteReset = "RemoteReset", ScheduledReset = "ScheduledReset", Triggered = "Triggered",
        Unknown = "Unknown", Watchdog = "Watchdog",
    }
);

message!(
    /// What a charger is.
    ChargingStation {
        /// Who made it.
        vendor: Due<Text<50>> = "vendorName",
        /// Its model.
        model: Due<Text<20>> = "model",
        /// Its serial number.
        serial: Option<Text<25>> = "serialNumber",
        /// Its firmware.
        firmware: Option<Text<50>> = "firmwareVersion",
    }
);

message!(
    /// A connector's state.
    StatusNotification("StatusNotification" => Empty) {
        /// Since when.
        at: Due<Timestamp> = "timestamp",
        /// The state.
        status: Due<ConnectorStatus> = "connectorStatus",
        /// The EVSE.
        evse: Due<i64> = "evseId",
        /// Its connector.
        connector: Due<i64> = "connectorId",
    }
);

words!(
    /// The states of a connector.
    ConnectorStatus {
        Available = "Available", Occupied = "Occupied", Reserved = "Reserved", Unavailable = "Unavailable",
        Faulted = "Faulted",
    }
);

message!(
    /// May this token charge?
    Authorize("Authorize" => AuthorizeAnswer) {
        /// The token.
        token: IdToken = "idToken",
    }
);

message!(
    /// Whether it may.
    AuthorizeAnswer {
        /// The verdict.
        info: TokenInfo = "idTokenInfo",
    }
);

message!(
    /// A token.
    IdToken {
        /// The token itself.
        token: Text<36> = "idToken",
        /// What kind.
        kind: Due<TokenKind> = "type",
    }
);

words!(
    /// Kinds of token.
    TokenKind {
        Central = "Central", Emaid = "eMAID", Iso14443 = "ISO14443", Iso15693 = "ISO15693", KeyCode = "KeyCode",
        Local = "Local", MacAddress = "MacAddress", NoAuthorization = "NoAuthorization",
    }
);

message!(
    /// What is known of a token.
    TokenInfo {
        /// The verdict.
        status: TokenStatus = "status",
    }
);

words!(
    /// Verdicts on a token.
    TokenStatus {
        Accepted = "Accepted", Blocked = "Blocked", ConcurrentTx = "ConcurrentTx", Expired = "Expired",
        Invalid = "Invalid", NoCredit = "NoCredit", NotAllowedTypeEvse = "NotAllowedTypeEVSE",
        NotAtThisLocation = "NotAtThisLocation", NotAtThisTime = "NotAtThisTime", Unknown = "Unknown",
    }
);

message!(
    /// A transaction begins, goes on or ends.
    TransactionEvent("TransactionEvent" => TransactionAnswer) {
        /// Which of the three.
        kind: Due<EventKind> = "eventType",
        /// When.
        at: Due<Timestamp> = "timestamp",
        /// Why this message.
        trigger: Due<TriggerReason> = "triggerReason",
        /// Counts the transaction's messages from 0.
        sequence: Due<i64> = "seqNo",
        /// Whether it happened without a connection.
        offline: Option<bool> = "offline",
        /// The transaction.
        transaction: Due<Transaction> = "transactionInfo",
        /// Where; needed in the first.
        evse: Option<Evse> = "evse",
        /// Who; once known.
        token: Option<IdToken> = "idToken",
        /// The reservation that it ends.
        reservation: Option<i64> = "reservationId",
        /// Readings.
        readings: Option<Vec<MeterValue>> = "meterValue",
    }
);

words!(
    /// Begin, go on, end.
    EventKind { Started = "Started", Updated = "Updated", Ended = "Ended", }
);

words!(
    /// Why a transaction message was sent.
    TriggerReason {
        Authorized = "Authorized", CablePluggedIn = "CablePluggedIn", ChargingRateChanged = "ChargingRateChanged",
        ChargingStateChanged = "ChargingStateChanged", Deauthorized = "Deauthorized",
        EnergyLimitReached = "EnergyLimitReached", EvCommunicationLost = "EVCommunicationLost",
        EvConnectTimeout = "EVConnectTimeout", MeterValueClock = "MeterValueClock",
        MeterValuePeriodic = "MeterValuePeriodic", TimeLimitReached = "TimeLimitReached", Trigger = "Trigger",
        UnlockCommand = "UnlockCommand", StopAuthorized = "StopAuthorized", EvDeparted = "EVDeparted",
        EvDetected = "EVDetected", RemoteStop = "RemoteStop", RemoteStart = "RemoteStart",
        AbnormalCondition = "AbnormalCondition", SignedDataReceived = "SignedDataReceived",
        ResetCommand = "ResetCommand",
    }
);

message!(
    /// Which transaction, and how it is.
    Transaction {
        /// Its id, made by the charger.
        id: Text<36> = "transactionId",
        /// How it is.
        state: Option<ChargingState> = "chargingState",
        /// Why it ended; absent at the end means `Local`.
        stopped: Option<StoppedReason> = "stoppedReason",
        /// The remote start that began it.
        remote_start: Option<i64> = "remoteStartId",
    }
);

words!(
    /// How a transaction is.
    ChargingState {
        Charging = "Charging", EvConnected = "EVConnected", SuspendedEv = "SuspendedEV",
        SuspendedEvse = "SuspendedEVSE", Idle = "Idle",
    }
);

words!(
    /// Why a transaction ended.
    StoppedReason {
        DeAuthorized = "DeAuthorized", EmergencyStop = "EmergencyStop", EnergyLimitReached = "EnergyLimitReached",
        EvDisconnected = "EVDisconnected", GroundFault = "GroundFault", ImmediateReset = "ImmediateReset",
        Local = "Local", LocalOutOfCredit = "LocalOutOfCredit", MasterPass = "MasterPass", Other = "Other",
        OvercurrentFault = "OvercurrentFault", PowerLoss = "PowerLoss", PowerQuality = "PowerQuality",
        Reboot = "Reboot", Remote = "Remote", SocLimitReached = "SOCLimitReached", StoppedByEv = "StoppedByEV",
        TimeLimitReached = "TimeLimitReached", Timeout = "Timeout",
    }
);

message!(
    /// An outlet and one of its plugs.
    Evse {
        /// The outlet, from 1; 0 is the charger as a whole.
        id: i64 = "id",
        /// The plug.
        connector: Option<i64> = "connectorId",
    }
);

message!(
    /// The transaction message is noted.
    TransactionAnswer {
        /// The verdict on its token, if it had one.
        info: Option<TokenInfo> = "idTokenInfo",
    }
);

message!(
    /// Meter readings outside transactions.
    MeterValues("MeterValues" => Empty) {
        /// The EVSE; 0 is the charger's main meter.
        evse: Due<i64> = "evseId",
        /// The readings.
        readings: Due<Vec<MeterValue>> = "meterValue",
    }
);

message!(
    /// Readings of one moment.
    MeterValue {
        /// When.
        at: Due<Timestamp> = "timestamp",
        /// The values.
        samples: Vec<Sample> = "sampledValue",
    }
);

message!(
    /// One value. Fields that are absent have the standard's defaults: register, Wh, outlet.
    Sample {
        /// The value.
        value: Due<Decimal> = "value",
        /// Why it was taken.
        context: Option<Text<32>> = "context",
        /// What was measured.
        measurand: Option<Text<64>> = "measurand",
        /// Of which phase; absent is the sum.
        phase: Option<Text<16>> = "phase",
        /// Where.
        location: Option<Text<16>> = "location",
        /// The unit.
        unit: Option<Unit> = "unitOfMeasure",
        /// The same, signed by the meter.
        signed: Option<SignedValue> = "signedMeterValue",
    }
);

message!(
    /// A unit, and the power of ten that its value is to be multiplied with.
    Unit {
        /// The unit; absent is Wh.
        unit: Option<Text<20>> = "unit",
        /// The power of ten; absent is 0.
        multiplier: Option<i64> = "multiplier",
    }
);

message!(
    /// A meter's signed record.
    SignedValue {
        /// The record, base64.
        data: Text<2500> = "signedMeterData",
        /// How it is signed.
        signing: Due<Text<50>> = "signingMethod",
        /// How it is encoded, such as `OCMF`.
        encoding: Due<Text<50>> = "encodingMethod",
        /// The meter's key, base64.
        public_key: Due<Text<2500>> = "publicKey",
    }
);

message!(
    /// Variables that were asked for.
    NotifyReport("NotifyReport" => Empty) {
        /// The request it answers.
        request: Due<i64> = "requestId",
        /// Counts the parts.
        sequence: Due<i64> = "seqNo",
        /// Whether more follows.
        more: Option<bool> = "tbc",
        /// The variables, as sent.
        data: Option<Json> = "reportData",
    }
);

message!(
    /// Events of monitored variables.
    NotifyEvent("NotifyEvent" => Empty) {
        /// Counts the parts.
        sequence: Due<i64> = "seqNo",
        /// The events, as sent.
        data: Due<Json> = "eventData",
    }
);

message!(
    /// Vendor data.
    DataTransfer("DataTransfer" => DataAnswer) {
        /// Whose.
        vendor: Due<Text<255>> = "vendorId",
        /// Which message.
        message: Option<Text<50>> = "messageId",
        /// The data.
        data: Option<Json> = "data",
    }
);

message!(
    /// Whether vendor data were understood.
    DataAnswer {
        /// The verdict.
        status: DataStatus = "status",
    }
);

message!(
    /// Start a transaction.
    RequestStartTransaction("RequestStartTransaction" => StartAnswer) {
        /// The EVSE.
        evse: Option<i64> = "evseId",
        /// Who charges.
        token: IdToken = "idToken",
        /// A number that the transaction will repeat.
        remote_start: i64 = "remoteStartId",
        /// The limit it starts with.
        profile: Option<ChargingProfile> = "chargingProfile",
    }
);

message!(
    /// Whether it will be tried.
    StartAnswer {
        /// The verdict.
        status: CommandStatus = "status",
        /// The transaction, if there was one already.
        transaction: Option<Text<36>> = "transactionId",
    }
);

message!(
    /// Stop a transaction.
    RequestStopTransaction("RequestStopTransaction" => CommandAnswer) {
        /// Its id.
        transaction: Text<36> = "transactionId",
    }
);

message!(
    /// Whether a command will be tried.
    CommandAnswer {
        /// The verdict.
        status: CommandStatus = "status",
    }
);

words!(
    /// Verdicts on a command, of all of 2.0.1's commands together.
    CommandStatus {
        Accepted = "Accepted", Rejected = "Rejected", Scheduled = "Scheduled", Faulted = "Faulted",
        Occupied = "Occupied", Unavailable = "Unavailable", Unlocked = "Unlocked", UnlockFailed = "UnlockFailed",
        OngoingAuthorizedTransaction = "OngoingAuthorizedTransaction", UnknownConnector = "UnknownConnector",
        NotImplemented = "NotImplemented",
    }
);

message!(
    /// Keep an EVSE for a token.
    ReserveNow("ReserveNow" => CommandAnswer) {
        /// The reservation's number.
        reservation: i64 = "id",
        /// Until when.
        until: Timestamp = "expiryDateTime",
        /// For whom.
        token: IdToken = "idToken",
        /// The EVSE.
        evse: Option<i64> = "evseId",
    }
);

message!(
    /// End a reservation.
    CancelReservation("CancelReservation" => CommandAnswer) {
        /// The reservation's number.
        reservation: i64 = "reservationId",
    }
);

message!(
    /// Take an EVSE out of service, or back.
    ChangeAvailability("ChangeAvailability" => CommandAnswer) {
        /// The EVSE; absent is the charger as a whole.
        evse: Option<Evse> = "evse",
        /// To what.
        to: Availability = "operationalStatus",
    }
);

message!(
    /// Release the cable.
    UnlockConnector("UnlockConnector" => CommandAnswer) {
        /// The EVSE.
        evse: i64 = "evseId",
        /// Its plug.
        connector: i64 = "connectorId",
    }
);

message!(
    /// Send a message now.
    TriggerMessage("TriggerMessage" => CommandAnswer) {
        /// Which.
        requested: TriggeredMessage = "requestedMessage",
        /// Of which EVSE.
        evse: Option<Evse> = "evse",
    }
);

words!(
    /// Messages that can be asked for.
    TriggeredMessage {
        BootNotification = "BootNotification", Heartbeat = "Heartbeat", MeterValues = "MeterValues",
        StatusNotification = "StatusNotification", TransactionEvent = "TransactionEvent",
    }
);

message!(
    /// A part of the charger that has variables.
    Component {
        /// Its name, such as `OCPPCommCtrlr`.
        name: Text<50> = "name",
        /// Which, of several.
        instance: Option<Text<50>> = "instance",
        /// Of which EVSE.
        evse: Option<Evse> = "evse",
    }
);

message!(
    /// A variable of a component.
    Variable {
        /// Its name, such as `HeartbeatInterval`.
        name: Text<50> = "name",
        /// Which, of several.
        instance: Option<Text<50>> = "instance",
    }
);

message!(
    /// Read variables.
    GetVariables("GetVariables" => GetVariablesAnswer) {
        /// Which.
        wanted: Vec<VariableName> = "getVariableData",
    }
);

message!(
    /// A variable's full name.
    VariableName {
        /// The component.
        component: Component = "component",
        /// The variable.
        variable: Variable = "variable",
    }
);

message!(
    /// The variables' values.
    GetVariablesAnswer {
        /// One for each that was asked for.
        results: Vec<VariableRead> = "getVariableResult",
    }
);

message!(
    /// One value that was read.
    VariableRead {
        /// The verdict.
        status: VariableStatus = "attributeStatus",
        /// The value, if accepted.
        value: Option<Text<2500>> = "attributeValue",
        /// The component.
        component: Component = "component",
        /// The variable.
        variable: Variable = "variable",
    }
);

message!(
    /// Write variables.
    SetVariables("SetVariables" => SetVariablesAnswer) {
        /// Names and values.
        wanted: Vec<VariableWrite> = "setVariableData",
    }
);

message!(
    /// One value to write.
    VariableWrite {
        /// The value.
        value: Text<1000> = "attributeValue",
        /// The component.
        component: Component = "component",
        /// The variable.
        variable: Variable = "variable",
    }
);

message!(
    /// Whether variables were written.
    SetVariablesAnswer {
        /// One for each.
        results: Vec<VariableWritten> = "setVariableResult",
    }
);

message!(
    /// Whether one variable was written.
    VariableWritten {
        /// The verdict.
        status: VariableStatus = "attributeStatus",
        /// The component.
        component: Component = "component",
        /// The variable.
        variable: Variable = "variable",
    }
);

words!(
    /// Verdicts on a variable.
    VariableStatus {
        Accepted = "Accepted", Rejected = "Rejected", UnknownComponent = "UnknownComponent",
        UnknownVariable = "UnknownVariable", NotSupportedAttributeType = "NotSupportedAttributeType",
        RebootRequired = "RebootRequired",
    }
);

message!(
    /// Is this transaction still on, and is anything of it still to come?
    GetTransactionStatus("GetTransactionStatus" => TransactionStatusAnswer) {
        /// Its id; absent asks for queued messages of any.
        transaction: Option<Text<36>> = "transactionId",
    }
);

message!(
    /// The answer to it.
    TransactionStatusAnswer {
        /// Whether it is on.
        ongoing: Option<bool> = "ongoingIndicator",
        /// Whether messages wait.
        queued: Due<bool> = "messagesInQueue",
    }
);

message!(
    /// Limit power over time.
    SetChargingProfile("SetChargingProfile" => CommandAnswer) {
        /// The EVSE; 0 is the charger as a whole.
        evse: i64 = "evseId",
        /// The limits.
        profile: ChargingProfile = "chargingProfile",
    }
);

message!(
    /// Limits over time.
    ChargingProfile {
        /// Its number.
        id: i64 = "id",
        /// The higher wins.
        stack_level: i64 = "stackLevel",
        /// What it limits.
        purpose: ProfilePurpose = "chargingProfilePurpose",
        /// How its times are counted.
        kind: ProfileKind = "chargingProfileKind",
        /// The transaction it limits.
        transaction: Option<Text<36>> = "transactionId",
        /// The limits; one to three alternatives.
        schedules: Vec<ChargingSchedule> = "chargingSchedule",
    }
);

words!(
    /// What a profile limits.
    ProfilePurpose {
        ExternalConstraints = "ChargingStationExternalConstraints", StationMax = "ChargingStationMaxProfile",
        TxDefault = "TxDefaultProfile", Tx = "TxProfile",
    }
);

message!(
    /// A sequence of limits.
    ChargingSchedule {
        /// Its number.
        id: i64 = "id",
        /// What the limits count.
        unit: RateUnit = "chargingRateUnit",
        /// The limits, in order of time.
        periods: Vec<SchedulePeriod> = "chargingSchedulePeriod",
    }
);

message!(
    /// Restart.
    Reset("Reset" => CommandAnswer) {
        /// When.
        kind: ResetKind = "type",
        /// Only this EVSE.
        evse: Option<i64> = "evseId",
    }
);

words!(
    /// When to restart.
    ResetKind { Immediate = "Immediate", OnIdle = "OnIdle", }
);
