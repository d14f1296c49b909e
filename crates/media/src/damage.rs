//! Which frames to doubt: a frame is intact only when nothing it may be predicted from was lost.
//!
//! Decoders hide damage: they fill in what is missing and go on. So damage is followed here in
//! decoding order, from the first bad packet to the next key frame, and a complaint of the decoder
//! that names no frame spoils every frame in flight.

use std::collections::VecDeque;

/// Frames a decoder may hold at once (16 references, a thread or two each way), with room.
const MAX_IN_FLIGHT: usize = 256;

/// What was known of a packet when it was sent to the decoder.
#[derive(Clone, Copy, Debug)]
struct InFlight {
    key: i64,
    duration: i64,
    spoiled: bool,
}

/// Follows packets into the decoder and frames out of it.
#[derive(Debug)]
pub(crate) struct Damage {
    in_flight: VecDeque<InFlight>,
    /// Frames decoded from here on are spoiled until a sync packet comes.
    spoiled: bool,
    /// After a spoiled stretch, frames shown before the sync frame (leading pictures of an open
    /// GOP) still look back into it.
    clean_from: i64,
}

/// A frame's own facts, found by its time stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// Ticks it is shown for; 0 when unknown.
    pub(crate) duration: i64,
    /// Everything it was predicted from arrived and decoded without complaint.
    pub(crate) intact: bool,
}

impl Damage {
    pub(crate) fn new() -> Self {
        // Until the first sync packet nothing can be trusted.
        Self { in_flight: VecDeque::new(), spoiled: true, clean_from: i64::MIN }
    }

    /// A packet goes to the decoder. `key` is its time stamp, `corrupt` what the demuxer said.
    pub(crate) fn sent(&mut self, key: i64, duration: i64, sync: bool, corrupt: bool) {
        if sync && !corrupt {
            if self.spoiled {
                self.clean_from = key;
            }
            self.spoiled = false;
        }
        self.spoiled |= corrupt;
        let spoiled = self.spoiled || key < self.clean_from;
        if self.in_flight.len() == MAX_IN_FLIGHT {
            self.in_flight.pop_front();
        }
        self.in_flight.push_back(InFlight { key, duration, spoiled });
    }

    /// The decoder complained, it does not say of which frame: everything in flight is spoiled, and
    /// what comes until the next sync packet. One already in flight heals nothing, because the
    /// complaint may be about that one.
    pub(crate) fn complained(&mut self) {
        self.spoil_from(0);
    }

    fn spoil_from(&mut self, first: usize) {
        for packet in self.in_flight.iter_mut().skip(first) {
            packet.spoiled = true;
        }
        self.spoiled = true;
    }

    /// A frame came out with time stamp `key`. `clean`: the decoder did not mark it as concealed or
    /// corrupt; a marked one spoils those predicted from it too, though the decoder says nothing
    /// of them.
    pub(crate) fn received(&mut self, key: i64, clean: bool) -> Origin {
        let place = self.in_flight.iter().position(|p| p.key == key);
        let packet = place.and_then(|i| self.in_flight.remove(i));
        if !clean {
            self.spoil_from(place.unwrap_or(0));
        }
        match packet {
            Some(p) => Origin { duration: p.duration, intact: clean && !p.spoiled },
            None => Origin { duration: 0, intact: clean && !self.spoiled },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intact(damage: &mut Damage, keys: &[i64]) -> Vec<bool> {
        keys.iter().map(|&k| damage.received(k, true).intact).collect()
    }

    #[test]
    fn a_bad_packet_spoils_everything_up_to_the_next_sync_frame() {
        let mut d = Damage::new();
        for k in 0..8 {
            d.sent(k, 1, k == 0 || k == 5, k == 2);
        }
        let want = [true, true, false, false, false, true, true, true];
        assert_eq!(intact(&mut d, &[0, 1, 2, 3, 4, 5, 6, 7]), want);
    }

    #[test]
    fn nothing_is_trusted_before_the_first_sync_frame() {
        let mut d = Damage::new();
        d.sent(0, 1, false, false);
        d.sent(1, 1, true, false);
        assert_eq!(intact(&mut d, &[0, 1]), [false, true]);
    }

    #[test]
    fn leading_pictures_of_an_open_gop_look_back_into_the_damage() {
        let mut d = Damage::new();
        d.sent(0, 1, true, false);
        d.sent(1, 1, false, true);
        d.sent(4, 1, true, false); // shown at 4, sent first
        d.sent(2, 1, false, false);
        d.sent(3, 1, false, false);
        d.sent(5, 1, false, false);
        assert_eq!(intact(&mut d, &[0, 1, 2, 3, 4, 5]), [true, false, false, false, true, true]);
    }

    #[test]
    fn a_complaint_spoils_all_in_flight_and_what_follows_until_the_next_sync_frame() {
        let mut d = Damage::new();
        d.sent(0, 1, true, false);
        assert!(d.received(0, true).intact);
        d.sent(1, 1, false, false);
        d.sent(2, 1, true, false);
        d.complained();
        d.sent(3, 1, false, false);
        d.sent(4, 1, true, false);
        assert_eq!(intact(&mut d, &[1, 2, 3, 4]), [false, false, false, true]);
    }

    #[test]
    fn a_concealed_frame_spoils_those_predicted_from_it() {
        let mut d = Damage::new();
        for k in 0..4 {
            d.sent(k, 1, k == 0, false);
        }
        assert!(d.received(0, true).intact);
        assert!(!d.received(1, false).intact);
        d.sent(4, 1, true, false);
        assert_eq!(intact(&mut d, &[2, 3, 4]), [false, false, true]);
    }

    #[test]
    fn packets_that_never_come_out_do_not_pile_up() {
        let mut d = Damage::new();
        for k in 0..10_000 {
            d.sent(k, 1, k == 0, false);
        }
        assert_eq!(d.in_flight.len(), MAX_IN_FLIGHT);
    }
}
