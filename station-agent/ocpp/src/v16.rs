//! OCPP 1.6 messages (OCPP 1.6 edition 2, sections 4 to 6; security whitepaper edition 3 for `SecurityEventNotification`).
//!
//! Fields that a message cannot do without for its sender's purpose are plain; what real chargers leave out of messages
//! that must not be lost is [`Due`]. Each struct is the wire's own object: same names, same units.

use crate::wire::{Decimal, Due, Text, message, words};
use ohmesh_units::Timestamp;

message!(
    /// An answer without fields.
    Empty {}
);

message!(
    /// What a charger says first after it connects (4.2).
    BootNotification("BootNotification" => BootAnswer) {
        /// Who made it.
        vendor: Due<Text<20>> = "chargePointVendor",
        /// Its model.
        model: Due<Text<20>> = "chargePointModel",
        /// Its serial number.
        serial: Option<Text<25>> = "chargePointSerialNumber",
        /// The serial number of its housing.
        box_serial: Option<Text<25>> = "chargeBoxSerialNumber",
        /// Its firmware.
        firmware: Option<Text<50>> = "firmwareVersion",
        /// Its meter's serial number.
        meter_serial: Option<Text<25>> = "meterSerialNumber",
        /// Its meter's type.
        meter_type: Option<Text<25>> = "meterType",
    }
);

message!(
    /// The answer to a boot.
    BootAnswer {
        /// Whether the charger may go on.
        status: BootStatus = "status",
        /// The time here.
        current_time: Due<Timestamp> = "currentTime",
        /// Seconds between heartbeats.
        interval_s: i64 = "interval",
    }
);

words!(
    /// Whether a charger is taken on.
    BootStatus { Accepted = "Accepted", Pending = "Pending", Rejected = "Rejected", }
);

message!(
    /// A sign of life (4.6).
    Heartbeat("Heartbeat" => HeartbeatAnswer) {}
);

message!(
    /// The time here.
    HeartbeatAnswer {
        /// The time here.
        current_time: Due<Timestamp> = "currentTime",
    }
);

message!(
    /// A connector's state (4.9).
    StatusNotification("StatusNotification" => Empty) {
        /// The connector; 0 is the charger as a whole.
        connector: Due<i64> = "connectorId",
        /// The error, if any.
        error_code: Due<Text<32>> = "errorCode",
        /// The state.
        status: Due<Status> = "status",
        /// Free text.
        info: Option<Text<50>> = "info",
        /// Since when.
        at: Option<Timestamp> = "timestamp",
        /// The vendor's own error.
        vendor_error: Option<Text<50>> = "vendorErrorCode",
    }
);

words!(
    /// The states of a connector (7.7).
    Status {
        Available = "Available", Preparing = "Preparing", Charging = "Charging", SuspendedEvse = "SuspendedEVSE",
        SuspendedEv = "SuspendedEV", Finishing = "Finishing", Reserved = "Reserved", Unavailable = "Unavailable",
        Faulted = "Faulted",
    }
);

message!(
    /// May this token charge (4.1)?
    Authorize("Authorize" => AuthorizeAnswer) {
        /// The token.
        token: Text<20> = "idTag",
    }
);

message!(
    /// Whether it may.
    AuthorizeAnswer {
        /// The verdict.
        info: TokenInfo = "idTagInfo",
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
        Accepted = "Accepted", Blocked = "Blocked", Expired = "Expired", Invalid = "Invalid",
        ConcurrentTx = "ConcurrentTx",
    }
);

message!(
    /// A transaction begins (4.8).
    StartTransaction("StartTransaction" => StartAnswer) {
        /// The connector.
        connector: Due<i64> = "connectorId",
        /// Who charges.
        token: Due<Text<20>> = "idTag",
        /// The register at the start, Wh.
        meter_start_wh: Due<i64> = "meterStart",
        /// The reservation that it ends.
        reservation: Option<i64> = "reservationId",
        /// When.
        at: Due<Timestamp> = "timestamp",
    }
);

message!(
    /// The transaction's number.
    StartAnswer {
        /// The verdict on the token.
        info: TokenInfo = "idTagInfo",
        /// The number.
        transaction: i64 = "transactionId",
    }
);

message!(
    /// A transaction ends (4.10).
    StopTransaction("StopTransaction" => StopAnswer) {
        /// The transaction's number.
        transaction: Due<i64> = "transactionId",
        /// Who stopped it.
        token: Option<Text<20>> = "idTag",
        /// The register at the end, Wh.
        meter_stop_wh: Due<i64> = "meterStop",
        /// When.
        at: Due<Timestamp> = "timestamp",
        /// Why; absent means `Local`.
        reason: Option<StopReason> = "reason",
        /// Readings of the transaction.
        readings: Option<Vec<MeterValue>> = "transactionData",
    }
);

message!(
    /// The stop is noted.
    StopAnswer {
        /// A verdict on the token that stopped it.
        info: Option<TokenInfo> = "idTagInfo",
    }
);

words!(
    /// Why a transaction ended (7.36).
    StopReason {
        DeAuthorized = "DeAuthorized", EmergencyStop = "EmergencyStop", EvDisconnected = "EVDisconnected",
        HardReset = "HardReset", Local = "Local", Other = "Other", PowerLoss = "PowerLoss", Reboot = "Reboot",
        Remote = "Remote", SoftReset = "SoftReset", UnlockCommand = "UnlockCommand",
    }
);

message!(
    /// Meter readings (4.7).
    MeterValues("MeterValues" => Empty) {
        /// The connector; 0 is the charger's main meter.
        connector: Due<i64> = "connectorId",
        /// The transaction they belong to.
        transaction: Option<i64> = "transactionId",
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
    /// One value. Fields that are absent have the standard's defaults: register, Wh, outlet, raw.
    Sample {
        /// The value: a decimal number, or a signed record where `format` says so.
        value: Text<2500> = "value",
        /// Why it was taken.
        context: Option<Text<32>> = "context",
        /// `Raw` or `SignedData`.
        format: Option<Text<32>> = "format",
        /// What was measured.
        measurand: Option<Text<64>> = "measurand",
        /// Of which phase; absent is the sum.
        phase: Option<Text<16>> = "phase",
        /// Where.
        location: Option<Text<16>> = "location",
        /// The unit.
        unit: Option<Text<16>> = "unit",
    }
);

message!(
    /// Vendor data (4.3).
    DataTransfer("DataTransfer" => DataAnswer) {
        /// Whose.
        vendor: Due<Text<255>> = "vendorId",
        /// Which message.
        message: Option<Text<50>> = "messageId",
        /// The data.
        data: Option<Text<65536>> = "data",
    }
);

message!(
    /// Whether vendor data were understood.
    DataAnswer {
        /// The verdict.
        status: DataStatus = "status",
    }
);

words!(
    /// Verdicts on vendor data.
    DataStatus {
        Accepted = "Accepted", Rejected = "Rejected", UnknownMessageId = "UnknownMessageId",
        UnknownVendorId = "UnknownVendorId",
    }
);

message!(
    /// A security event of the charger (whitepaper 4.6).
    SecurityEventNotification("SecurityEventNotification" => Empty) {
        /// What happened.
        kind: Due<Text<50>> = "type",
        /// When.
        at: Due<Timestamp> = "timestamp",
        /// Details.
        info: Option<Text<255>> = "techInfo",
    }
);

message!(
    /// Start a transaction (5.11).
    RemoteStartTransaction("RemoteStartTransaction" => CommandAnswer) {
        /// The connector.
        connector: Option<i64> = "connectorId",
        /// Who charges.
        token: Text<20> = "idTag",
        /// The limit it starts with.
        profile: Option<ChargingProfile> = "chargingProfile",
    }
);

message!(
    /// Stop a transaction (5.12).
    RemoteStopTransaction("RemoteStopTransaction" => CommandAnswer) {
        /// The transaction's number.
        transaction: i64 = "transactionId",
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
    /// Verdicts on a command, of all of 1.6's commands together.
    CommandStatus {
        Accepted = "Accepted", Rejected = "Rejected", Scheduled = "Scheduled", Faulted = "Faulted",
        Occupied = "Occupied", Unavailable = "Unavailable", Unlocked = "Unlocked", UnlockFailed = "UnlockFailed",
        NotSupported = "NotSupported", NotImplemented = "NotImplemented", RebootRequired = "RebootRequired",
    }
);

message!(
    /// Keep a connector for a token (5.13).
    ReserveNow("ReserveNow" => CommandAnswer) {
        /// The connector.
        connector: i64 = "connectorId",
        /// Until when.
        until: Timestamp = "expiryDate",
        /// For whom.
        token: Text<20> = "idTag",
        /// The reservation's number.
        reservation: i64 = "reservationId",
    }
);

message!(
    /// End a reservation (5.2).
    CancelReservation("CancelReservation" => CommandAnswer) {
        /// The reservation's number.
        reservation: i64 = "reservationId",
    }
);

message!(
    /// Take a connector out of service, or back (5.3).
    ChangeAvailability("ChangeAvailability" => CommandAnswer) {
        /// The connector; 0 is the charger as a whole.
        connector: i64 = "connectorId",
        /// To what.
        to: Availability = "type",
    }
);

words!(
    /// In service or not.
    Availability { Operative = "Operative", Inoperative = "Inoperative", }
);

message!(
    /// Release the cable (5.18).
    UnlockConnector("UnlockConnector" => CommandAnswer) {
        /// The connector.
        connector: i64 = "connectorId",
    }
);

message!(
    /// Send a message now (5.17).
    TriggerMessage("TriggerMessage" => CommandAnswer) {
        /// Which.
        requested: TriggeredMessage = "requestedMessage",
        /// Of which connector.
        connector: Option<i64> = "connectorId",
    }
);

words!(
    /// Messages that can be asked for.
    TriggeredMessage {
        BootNotification = "BootNotification", Heartbeat = "Heartbeat", MeterValues = "MeterValues",
        StatusNotification = "StatusNotification",
    }
);

message!(
    /// Read settings (5.8).
    GetConfiguration("GetConfiguration" => ConfigurationAnswer) {
        /// Which; absent means all.
        keys: Option<Vec<Text<50>>> = "key",
    }
);

message!(
    /// The settings.
    ConfigurationAnswer {
        /// Known ones.
        known: Option<Vec<Setting>> = "configurationKey",
        /// Keys the charger does not know.
        unknown: Option<Vec<Text<50>>> = "unknownKey",
    }
);

message!(
    /// One setting.
    Setting {
        /// Its key.
        key: Text<50> = "key",
        /// Whether it cannot be written.
        read_only: Due<bool> = "readonly",
        /// Its value.
        value: Option<Text<500>> = "value",
    }
);

message!(
    /// Write a setting (5.4).
    ChangeConfiguration("ChangeConfiguration" => CommandAnswer) {
        /// Its key.
        key: Text<50> = "key",
        /// Its value.
        value: Text<500> = "value",
    }
);

message!(
    /// Limit power over time (5.16).
    SetChargingProfile("SetChargingProfile" => CommandAnswer) {
        /// The connector; 0 is the charger as a whole.
        connector: i64 = "connectorId",
        /// The limits.
        profile: ChargingProfile = "csChargingProfiles",
    }
);

message!(
    /// Limits over time (7.8).
    ChargingProfile {
        /// Its number.
        id: i64 = "chargingProfileId",
        /// The transaction it limits.
        transaction: Option<i64> = "transactionId",
        /// The higher wins.
        stack_level: i64 = "stackLevel",
        /// What it limits.
        purpose: ProfilePurpose = "chargingProfilePurpose",
        /// How its times are counted.
        kind: ProfileKind = "chargingProfileKind",
        /// The limits.
        schedule: ChargingSchedule = "chargingSchedule",
    }
);

words!(
    /// What a profile limits.
    ProfilePurpose {
        ChargePointMax = "ChargePointMaxProfile", TxDefault = "TxDefaultProfile", Tx = "TxProfile",
    }
);

words!(
    /// How a profile's times are counted.
    ProfileKind { Absolute = "Absolute", Recurring = "Recurring", Relative = "Relative", }
);

message!(
    /// A sequence of limits.
    ChargingSchedule {
        /// What the limits count.
        unit: RateUnit = "chargingRateUnit",
        /// The limits, in order of time.
        periods: Vec<SchedulePeriod> = "chargingSchedulePeriod",
    }
);

words!(
    /// What limits count.
    RateUnit { Amperes = "A", Watts = "W", }
);

message!(
    /// One limit. Amperes are per phase.
    SchedulePeriod {
        /// From how many seconds after the start.
        start_s: i64 = "startPeriod",
        /// The limit, to one decimal.
        limit: Decimal = "limit",
        /// On how many phases; absent is 3.
        phases: Option<i64> = "numberPhases",
    }
);

message!(
    /// Restart (5.14).
    Reset("Reset" => CommandAnswer) {
        /// How.
        kind: ResetKind = "type",
    }
);

words!(
    /// How to restart.
    ResetKind { Hard = "Hard", Soft = "Soft", }
);
