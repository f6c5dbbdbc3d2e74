//! Accounts, stations and outlets.

use super::{signed_by, text};
use crate::{
    Account, Children, End, Evse, Finished, Installation, Object, OldMeter, Station, TransactionError,
    Verified, register::NotForSale, state::Draft,
};
use ohmesh_auction::seal::SealKey;
use ohmesh_units::{
    AccountId, Domain, Energy, EvseId, Hash, Position, Power, PublicKey, Signature, StationId,
};

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
    let is_sealable = SealKey::from_bytes(award_key.0).is_registrable().is_ok();
    if !is_sealable {
        return Err(TransactionError::AwardKey(StationId::of(&owner, number)));
    }
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
    (station, number): (StationId, u16),
    (connectors, power): (u16, Power),
    (meter, installed): (PublicKey, &Signature),
) -> Result<(), TransactionError> {
    match draft.object(&station.into()) {
        Some((_, Object::Station(found))) if found.owner == owner => {}
        Some((_, Object::Station(_))) => return Err(TransactionError::NotTheOwner(station)),
        _ => return Err(TransactionError::NoStation(station)),
    }
    meter.is_registrable()?;
    let (register, gaps, before) = (Energy::ZERO, Vec::new(), None);
    let mut evse = Evse { station, owner, number, connectors, power, meter, register, gaps, before };
    if connectors == 0 || power.as_w() == 0 {
        return Err(TransactionError::EmptyEvse(evse.id()));
    }
    let (zone, id) = (*draft.state.zone_id(), evse.id());
    if !(Installation { zone, evse: id, owner, meter }).is_signed(installed) {
        return Err(TransactionError::MeterNotInstalled { evse: id, meter });
    }
    // The register belongs to the meter, and a meter to one outlet for ever: otherwise its register could begin anew.
    let now = match draft.object(&evse.id().into()) {
        Some((_, Object::Evse(now))) => Some(now.clone()),
        _ => None,
    };
    match now {
        Some(now) if now.meter == meter => {
            (evse.register, evse.gaps, evse.before) = (now.register, now.gaps, now.before);
        }
        now => {
            evse.before = now
                .map(|now| Box::new(OldMeter { meter: now.meter, register: now.register, gaps: now.gaps }));
            bind_meter(draft, &meter)?;
        }
    }
    put(draft, Object::Evse(evse))
}

/// Takes `energy` from `from` on out of the register of `meter`, which is or was the outlet's, so that no energy is sold
/// twice.
pub(super) fn sell_register(
    draft: &mut Draft<'_>,
    evse: EvseId,
    meter: PublicKey,
    (from, energy): (Energy, Energy),
) -> Result<(), TransactionError> {
    let Some((slot, Object::Evse(outlet))) = draft.object(&evse.into()) else {
        return Err(TransactionError::NoEvse(evse));
    };
    let mut outlet = outlet.clone();
    let to = from.checked_add(energy).ok_or(TransactionError::Overflow(outlet.owner))?;
    outlet.sell(&meter, from, to).map_err(|reason| match reason {
        NotForSale::Sold(part) => {
            TransactionError::MeterRegister { evse, from, to, sold_from: part.from, sold_to: part.to }
        }
        NotForSale::OtherMeter => TransactionError::MeterGone { evse, meter },
    })?;
    draft.set_object(slot, Object::Evse(outlet));
    Ok(())
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

/// Leaves the mark by which a registered meter's key is known for ever.
fn bind_meter(draft: &mut Draft<'_>, meter: &PublicKey) -> Result<(), TransactionError> {
    const METER: Domain = Domain::new("ohmesh/1 meter bound");
    let id = METER.hash(&[&meter.to_bytes()]);
    if draft.object(&id).is_some() {
        return Err(TransactionError::MeterBound(*meter));
    }
    draft.add_object(Object::Finished(Finished { id, end: End::Used, content: Hash::ZERO }))?;
    Ok(())
}
