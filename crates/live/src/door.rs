//! Who is at the door: connections that were not let in, or are on their way out.
//!
//! There is room for [`ROOM`] of them. When one more comes, one makes way: who has been there longest, of those from
//! the address that has most. So a publisher gets in whatever stands idle there, unless as many come in the moment
//! that it takes to say its key: from its own address, or from as many addresses as there is room. Somebody who was let
//! in is not at the door: a channel has one publisher, and a server so many channels.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Connections at the door, at most. Each may hold a megabyte and a half for the ten seconds that it has
/// ([`rtmp::Limits`]), most hold nothing.
pub(crate) const ROOM: usize = 128;

/// The door of a server.
#[derive(Default)]
pub(crate) struct Door {
    /// Who came first is in front.
    waiting: Mutex<VecDeque<Waiting>>,
}

struct Waiting {
    from: IpAddr,
    away: Arc<Notify>,
}

/// A connection. It is not at the door any more when this is dropped.
pub(crate) struct Guest {
    door: Arc<Door>,
    from: IpAddr,
    away: Arc<Notify>,
}

impl Door {
    /// Somebody came to the door.
    pub(crate) fn meet(self: &Arc<Self>, address: IpAddr) -> Guest {
        let guest = Guest { door: Arc::clone(self), from: whose(address), away: Arc::default() };
        guest.wait();
        guest
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        // It is whole at any time.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guest {
    /// Is at the door, again perhaps, where somebody makes way for it.
    pub(crate) fn wait(&self) {
        let mut waiting = self.door.lock();
        if waiting.iter().any(|other| Arc::ptr_eq(&other.away, &self.away)) {
            return;
        }
        waiting.push_back(Waiting { from: self.from, away: Arc::clone(&self.away) });
        if waiting.len() > ROOM
            && let Some(first) = who_makes_way(&waiting)
            && let Some(gone) = waiting.remove(first)
        {
            gone.away.notify_one();
        }
    }

    /// Was let in.
    pub(crate) fn enter(&self) {
        self.door.lock().retain(|other| !Arc::ptr_eq(&other.away, &self.away));
    }

    /// Returns when it has to make way.
    pub(crate) async fn sent_away(&self) {
        self.away.notified().await;
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.enter();
    }
}

fn who_makes_way(waiting: &VecDeque<Waiting>) -> Option<usize> {
    let mut counts = HashMap::new();
    for one in waiting {
        *counts.entry(one.from).or_insert(0_usize) += 1;
    }
    let most = counts.values().max();
    waiting.iter().position(|one| counts.get(&one.from) == most)
}

/// An address as one somebody has it: of IPv6, 64 bits are theirs to choose.
fn whose(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) => Ipv6Addr::from_bits(six.to_bits() >> 64 << 64).into(),
        four => four,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    fn from(host: u8) -> IpAddr {
        Ipv4Addr::new(192, 0, 2, host).into()
    }

    /// Which of these are not at the door any more.
    fn gone(guests: &[Guest]) -> Vec<usize> {
        let door = guests[0].door.lock();
        let stands = |guest: &Guest| door.iter().any(|one| Arc::ptr_eq(&one.away, &guest.away));
        (0..guests.len()).filter(|n| !stands(&guests[*n])).collect()
    }

    #[test]
    fn a_flood_from_one_address_drives_out_itself() {
        let door = Arc::new(Door::default());
        let mut guests: Vec<Guest> = (0..3).map(|host| door.meet(from(host))).collect();
        guests.extend((0..300).map(|_| door.meet(from(9))));
        assert_eq!(gone(&guests), (3..303 - (ROOM - 3)).collect::<Vec<_>>());
    }

    #[test]
    fn from_everywhere_the_oldest_makes_way() {
        let door = Arc::new(Door::default());
        let guests: Vec<Guest> = (0..ROOM as u8 + 2).map(|host| door.meet(from(host))).collect();
        assert_eq!(gone(&guests), [0, 1]);
    }

    #[tokio::test]
    async fn who_was_let_in_is_not_sent_away_until_it_leaves() {
        let door = Arc::new(Door::default());
        let publisher = door.meet(from(0));
        publisher.enter();
        let first = door.meet(from(0));
        let _others: Vec<Guest> = (1..ROOM).map(|_| door.meet(from(0))).collect();
        assert!(gone(std::slice::from_ref(&first)).is_empty());
        publisher.wait();
        first.sent_away().await;
        publisher.wait();
        assert_eq!(door.lock().len(), ROOM);
        drop(publisher);
        assert_eq!(door.lock().len(), ROOM - 1);
    }

    #[test]
    fn addresses_are_those_of_one_somebody() {
        let whose = |address: &str| whose(address.parse().unwrap()).to_string();
        assert_eq!(whose("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(whose("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    }

    proptest! {
        #[test]
        fn there_is_room_for_so_many_and_never_for_one_address_alone(
            hosts in prop::collection::vec(0_u8..8, 1..400),
        ) {
            let door = Arc::new(Door::default());
            let guests: Vec<Guest> = hosts.iter().map(|host| door.meet(from(*host))).collect();
            prop_assert_eq!(door.lock().len(), guests.len().min(ROOM));
            let gone = gone(&guests);
            // The last one is never the one that makes way.
            prop_assert!(!gone.contains(&(guests.len() - 1)));
            // No address lost one while it had less than its share of the room.
            let share = ROOM / 8;
            for host in 0..8 {
                let all = hosts.iter().filter(|one| **one == host).count();
                let lost = gone.iter().filter(|n| hosts[**n] == host).count();
                prop_assert!(all - lost >= all.min(share), "{} of {} lost", lost, all);
            }
        }
    }
}
