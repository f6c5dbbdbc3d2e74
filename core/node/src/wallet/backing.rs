//! Which object shows that a transaction has been applied.
//!
//! | transaction | what backs it |
//! |---|---|
//! | `OpenAccount` | the account |
//! | `Pend`, `PendSale` | the hold, open or finished: its id is made of the transaction's |
//! | `RegisterStation`, `RegisterEvse` | the object, exactly as the transaction asks for |
//! | any other | nothing that a phone can be shown yet: balances tell, and hearsay |

use ohmesh_ledger::{Body, Evse, Object, Station, Transaction};
use ohmesh_units::{EvseId, Hash, StationId};

/// The id of the object that can back `transaction`, if there is one.
pub(crate) fn backing_id(transaction: &Transaction) -> Option<Hash> {
    match &transaction.body {
        Body::OpenAccount { .. } => Some(transaction.sender.into()),
        Body::Pend { .. } | Body::PendSale { .. } => Some(transaction.pending_id()),
        Body::RegisterStation { number, .. } => Some(StationId::of(&transaction.sender, *number).into()),
        Body::RegisterEvse { station, number, .. } => Some(EvseId::of(station, *number).into()),
        _ => None,
    }
}

/// Whether `object`, which has been proven, backs `transaction`.
pub(crate) fn is_backed_by(transaction: &Transaction, object: &Object) -> bool {
    if backing_id(transaction) != Some(object.id()) {
        return false;
    }
    match (&transaction.body, object) {
        (
            Body::RegisterStation { number, name, position, award_key },
            Object::Station(Station {
                owner,
                number: found_number,
                name: found_name,
                position: found_position,
                award_key: found_key,
                // The distributor's word, not the operator's.
                circuit: _,
            }),
        ) => {
            *owner == transaction.sender
                && number == found_number
                && name == found_name
                && position == found_position
                && award_key == found_key
        }
        (
            // That the meter signed was checked when it was applied, and is not kept.
            Body::RegisterEvse { station, number, connectors, power, meter, installed: _ },
            Object::Evse(Evse {
                station: found_station,
                owner,
                number: found_number,
                connectors: found_connectors,
                power: found_power,
                meter: found_meter,
                // What the meter has counted moves on with every sale.
                ..
            }),
        ) => {
            *owner == transaction.sender
                && station == found_station
                && number == found_number
                && connectors == found_connectors
                && power == found_power
                && meter == found_meter
        }
        (Body::OpenAccount { .. }, Object::Account(_)) => true,
        (Body::Pend { .. } | Body::PendSale { .. }, Object::Pending(_) | Object::Finished(_)) => true,
        _ => false,
    }
}
