//! OCPP codec and charger session state
