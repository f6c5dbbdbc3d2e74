//! Looking for a station on the phone, and the area that is said instead of the position.

use super::BuyError;
use ohmesh_geo::{Catalogue, Filter, Station, area_at, choose_area, geodesic_m};
use ohmesh_ledger::{Zone, ZoneArea};
use ohmesh_units::{InCell, Position};

/// A station near a position.
#[derive(Clone, Copy, Debug)]
pub struct Nearby<'a> {
    /// Its place in [`Catalogue::stations`].
    pub slot: u32,
    /// The station.
    pub station: &'a Station,
    /// How far it is along the ground, in metres: what a person is shown.
    pub distance_m: u32,
}

/// The nearest stations with an outlet that passes `filter`, nearest first; at most `count`. Nobody is asked: the
/// position stays in this process.
pub fn find<'a>(
    catalogue: &'a Catalogue,
    position: Position,
    filter: &Filter,
    count: usize,
) -> Vec<Nearby<'a>> {
    let nearby = |found: ohmesh_geo::Found<'a>| {
        let metres = geodesic_m(position, found.station.position).round();
        // At most half the Earth around, 20,004 km; a cast from float saturates, never wraps.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let distance_m = metres as u32;
        Nearby { slot: found.slot, station: found.station, distance_m }
    };
    catalogue.nearest(count, position, filter).into_iter().map(nearby).collect()
}

/// The area to name for `position`, and where in it that is: what [`choose_area`] says if the zone lists it, else the
/// finest listed one that is larger and holds the position. Never a finer one: it might hide nobody.
pub(crate) fn area_in(
    zone: &Zone,
    catalogue: &Catalogue,
    position: Position,
) -> Result<(ZoneArea, InCell), BuyError> {
    let chosen = choose_area(position, catalogue)?;
    let listed = (0..=chosen.resolution()).rev().find_map(|resolution| {
        let area = if resolution == chosen.resolution() { chosen } else { area_at(position, resolution)? };
        zone.frame(area).map(|frame| ZoneArea { area, frame })
    });
    let listed = listed.ok_or(BuyError::AreaNotListed(chosen))?;
    let inside = listed.frame.locate(position).filter(|at| at.is_inside());
    Ok((listed, inside.ok_or(BuyError::OutsideFrame(listed.area))?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ohmesh_geo::{Availability, Connector, Outlet, frame};
    use ohmesh_ledger::{Distributor, KeyGroup, Rules, Validator, ValidatorSet};
    use ohmesh_units::{Area, Frame, Power, Price, SigningKey, Timestamp};

    fn here() -> Position {
        Position::from_e7(525_200_000, 134_050_000).unwrap()
    }

    fn catalogue() -> Catalogue {
        let station = |n: i32| Station {
            reference: None,
            name: format!("Station {n}"),
            operator: "Stadtwerke".into(),
            address: "Am Markt".into(),
            position: Position::from_e7(525_200_000 + n * 1_000, 134_050_000).unwrap(),
            outlets: vec![Outlet {
                count: 1,
                connectors: Connector::Ccs.into(),
                power: Some(Power::from_w(50_000)),
                meter_key: None,
            }],
            in_service_since: None,
            availability: Availability::Unknown,
        };
        Catalogue::new((0..25).map(station).collect()).unwrap()
    }

    fn zone(mut areas: Vec<ZoneArea>) -> Zone {
        let key = SigningKey::from_seed([1; 32]).public();
        areas.sort_by_key(|listed| listed.area);
        let validators =
            vec![Validator { name: "v".into(), key, vote: key, stake: 1, address: String::new() }];
        Zone {
            name: "testville".into(),
            currency: "EUR".parse().unwrap(),
            created: Timestamp::EPOCH,
            polygon: vec![here(); 3],
            regulators: None,
            rules: Rules::default(),
            treasury: KeyGroup { threshold: 1, keys: vec![key] },
            distributor: Distributor { key, tariff: Price::default() },
            areas,
            validators: ValidatorSet::new(validators).unwrap(),
        }
    }

    fn listed(area: Area) -> ZoneArea {
        ZoneArea { area, frame: frame(area).unwrap() }
    }

    #[test]
    fn the_area_is_the_finest_listed_one_that_hides_the_driver() {
        let (catalogue, here) = (catalogue(), here());
        let chosen = choose_area(here, &catalogue).unwrap();
        let at = |finer: i16| {
            let resolution = u8::try_from(i16::from(chosen.resolution()) + finer).unwrap();
            listed(area_at(here, resolution).unwrap())
        };
        let area =
            |areas: &[ZoneArea]| area_in(&zone(areas.to_vec()), &catalogue, here).map(|(area, _)| area);
        assert_eq!(area(&[at(-2), at(-1), at(0), at(1)]), Ok(listed(chosen)));
        assert_eq!(area(&[at(-2), at(-1), at(1)]), Ok(at(-1)), "larger, never finer");
        assert_eq!(area(&[at(1)]), Err(BuyError::AreaNotListed(chosen)));
        let far = Frame { origin: Position::from_e7(0, 0).unwrap(), ..at(0).frame };
        assert_eq!(area(&[ZoneArea { frame: far, ..at(0) }]), Err(BuyError::OutsideFrame(chosen)));
        let nowhere = Position::from_e7(-400_000_000, 0).unwrap();
        assert!(matches!(area_in(&zone(vec![at(0)]), &catalogue, nowhere), Err(BuyError::Area(_))));
    }
}
