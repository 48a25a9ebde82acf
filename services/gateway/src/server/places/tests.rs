//! Unit tests of the places for connections.

use std::{net::Ipv4Addr, num::NonZeroUsize};

use super::*;

fn places(max: usize, max_per_address: usize) -> Places {
    let args = ConnectionArgs {
        max_connections: NonZeroUsize::MAX,
        max_connections_per_address: max_per_address,
        header_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(75),
    };
    Places::new(&args, max)
}

fn address(last: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, last).into()
}

/// One place for each address, each taken a little later than the one before.
fn taken(places: &Places, addresses: &[u8]) -> Vec<Place> {
    addresses
        .iter()
        .filter_map(|last| {
            std::thread::sleep(Duration::from_millis(2));
            places.take(address(*last))
        })
        .collect()
}

fn is_open(place: &Place) -> bool {
    place.connection().state().phase() != Phase::Closing
}

#[test]
fn a_new_connection_replaces_the_oldest_one_without_a_complete_request() {
    let places = places(4, 0);
    let taken = taken(&places, &[1, 2, 3, 4]);
    assert!(taken[0].connection().begin_request());
    taken[0].connection().received();

    let fifth = places.take(address(5));
    let sixth = places.take(address(6));

    assert!(fifth.is_some() && sixth.is_some());
    let open: Vec<_> = taken.iter().map(is_open).collect();
    assert_eq!(open, [true, false, false, true]);
    assert_eq!(places.table().open.len(), 4);
}

#[test]
fn no_connection_is_replaced_while_all_have_a_request_in_progress() {
    let places = places(2, 0);
    let taken = taken(&places, &[1, 2]);
    for place in &taken {
        assert!(place.connection().begin_request());
        place.connection().received();
    }

    assert!(places.take(address(3)).is_none());
    assert!(taken.iter().all(is_open));
    taken[1].connection().answered();
    taken[1].connection().sent();
    std::thread::sleep(Duration::from_millis(10));
    assert!(places.take(address(3)).is_some());
    assert!(is_open(&taken[0]) && !is_open(&taken[1]));
}

#[test]
fn an_address_at_its_limit_replaces_its_own_connections() {
    let places = places(10, 2);
    let taken = taken(&places, &[1, 2, 2]);

    let fourth = places.take(address(2));

    assert!(fourth.is_some());
    let open: Vec<_> = taken.iter().map(is_open).collect();
    assert_eq!(open, [true, false, true]);
}

#[test]
fn a_place_is_released_once() {
    let places = places(2, 2);
    let first = taken(&places, &[1, 1]);
    let second = taken(&places, &[1, 1]);
    assert_eq!(places.table().by_address[&address(1)], 2);

    drop(first);
    assert_eq!(places.table().by_address[&address(1)], 2);
    drop(second);
    let table = places.table();
    assert!(table.open.is_empty() && table.by_address.is_empty());
    assert_eq!(table.oldest.len(), 0);
}

#[test]
fn each_phase_has_its_timeout() {
    let places = places(1, 0);
    let taken = taken(&places, &[1]);
    let connection = taken[0].connection();
    let reason = |seconds| places.expiry_reason(connection.state(), Duration::from_secs(seconds));

    assert_eq!((reason(9), reason(11)), (None, Some("slow")));
    assert!(connection.begin_request());
    assert_eq!(reason(1_000), None);
    connection.answered();
    assert_eq!((reason(59), reason(62)), (None, Some("stalled")));
    connection.sent();
    assert_eq!((reason(74), reason(77)), (None, Some("idle")));
}

#[test]
fn an_ipv6_network_is_one_address() {
    let parsed = [
        "2001:db8::1",
        "2001:db8::2",
        "2001:db8:0:1::1",
        "::ffff:10.0.0.1",
    ]
    .map(|text| text.parse().map(network).ok());

    assert_eq!(parsed[0], parsed[1]);
    assert_ne!(parsed[0], parsed[2]);
    assert_eq!(parsed[3], Some(address(1)));
}
