//! Accounts, stations and outlets.

use super::{signed_by, text};
use crate::{
    Account, Children, End, Evse, Finished, Object, Station, TransactionError, Verified, state::Draft,
};
use ohmesh_units::{AccountId, Domain, Energy, Hash, Position, Power, PublicKey, StationId};

/// Opens the account of `owner`.
pub(super) fn open_account(
    draft: &mut Draft<'_>,
    sender: AccountId,
    owner: PublicKey,
) -> Result<(), TransactionError> {
    owner.is_registrable()?;
    if sender != AccountId::of(&owner) {
        return Err(TransactionError::NotOwnAccount(owner));
    }
    if draft.object(&sender.into()).is_some() {
        return Err(TransactionError::AccountExists(sender));
    }
    draft.add_object(Object::Account(Account {
        owner,
        balances: [None, None],
        children: Children::default(),
    }))?;
    Ok(())
}

/// Opens the account of `owner`, who signs too, at somebody else's cost.
pub(super) fn open_account_for(
    draft: &mut Draft<'_>,
    verified: &Verified,
    owner: PublicKey,
) -> Result<(), TransactionError> {
    signed_by(verified, &owner)?;
    open_account(draft, AccountId::of(&owner), owner)
}

/// Registers or changes a station of the sender.
pub(super) fn station(
    draft: &mut Draft<'_>,
    owner: AccountId,
    number: u32,
    name: &str,
    position: Position,
    award_key: Hash,
) -> Result<(), TransactionError> {
    text("name", name)?;
    let mut station = Station { owner, number, name: name.to_owned(), position, award_key, circuit: None };
    // The distributor said which circuit feeds the place; it says so again when the station moves.
    if let Some((_, Object::Station(before))) = draft.object(&station.id().into())
        && before.position == position
    {
        station.circuit = before.circuit;
    }
    put(draft, Object::Station(station))
}

/// Registers or changes an outlet of one of the sender's stations.
pub(super) fn evse(
    draft: &mut Draft<'_>,
    owner: AccountId,
    station: StationId,
    number: u16,
    (connectors, power): (u16, Power),
    meter: PublicKey,
) -> Result<(), TransactionError> {
    match draft.object(&station.into()) {
        Some((_, Object::Station(found))) if found.owner == owner => {}
        Some((_, Object::Station(_))) => return Err(TransactionError::NotTheOwner(station)),
        _ => return Err(TransactionError::NoStation(station)),
    }
    meter.is_registrable()?;
    let mut evse = Evse { station, owner, number, connectors, power, meter, register: Energy::ZERO };
    if connectors == 0 || power.as_w() == 0 {
        return Err(TransactionError::EmptyEvse(evse.id()));
    }
    // The register belongs to the meter, and a meter to one outlet for ever: otherwise its register could begin anew.
    match draft.object(&evse.id().into()) {
        Some((_, Object::Evse(before))) if before.meter == meter => evse.register = before.register,
        _ => {
            let bound = bound_meter(&meter);
            if draft.object(&bound.id).is_some() {
                return Err(TransactionError::MeterBound(meter));
            }
            draft.add_object(Object::Finished(bound))?;
        }
    }
    put(draft, Object::Evse(evse))
}

/// Writes an object into the slot of its id, or into a new one. The id holds the owner, so nobody writes another's.
fn put(draft: &mut Draft<'_>, object: Object) -> Result<(), TransactionError> {
    let found: Option<u32> = draft.object(&Hash(object.id().0)).map(|(slot, _)| slot);
    match found {
        Some(slot) => draft.set_object(slot, object),
        None => {
            draft.add_object(object)?;
        }
    }
    Ok(())
}

/// The mark that a registered meter's key leaves for ever.
fn bound_meter(meter: &PublicKey) -> Finished {
    const METER: Domain = Domain::new("ohmesh/1 meter bound");
    Finished { id: METER.hash(&[&meter.to_bytes()]), end: End::Used, content: Hash::ZERO }
}
