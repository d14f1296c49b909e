//! How long it takes to find one face among 100,000 templates. Prints JSON, for `make bench-service`.

use std::time::Instant;

use vision::gallery::{Group, Person};
use vision::{Embedding, Gallery};

const PEOPLE: usize = 100_000;
const SEARCHES: usize = 20;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut state = 1_u64;
    // xorshift64 (Marsaglia, "Xorshift RNGs", 2003): directions without structure, the same in every run.
    let mut number = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    let mut face = || Embedding::new(std::array::from_fn(|_| number())).ok_or("no direction");
    let mut groups = Vec::with_capacity(PEOPLE);
    for n in 0..PEOPLE {
        let person = Person { name: n.to_string() };
        groups.push(Group { person, photos: vec![(String::new(), face()?)] });
    }
    let gallery = Gallery::enrol(groups)?;
    let mut millis = Vec::with_capacity(SEARCHES);
    for _ in 0..SEARCHES {
        let probe = face()?;
        let start = Instant::now();
        let found = gallery.ranked(&probe, 10);
        millis.push(start.elapsed().as_secs_f64() * 1000.0);
        assert_eq!(found.first().copied(), gallery.nearest(&probe), "both find the same");
    }
    millis.sort_by(f64::total_cmp);
    println!(
        "{{\"median_ms\": {:.3}, \"slowest_ms\": {:.3}}}",
        millis[SEARCHES / 2],
        millis[SEARCHES - 1]
    );
    Ok(())
}
