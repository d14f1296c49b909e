use std::io::{Cursor, Read};
use std::path::PathBuf;

use sealed::{Reader, Sealed};
use store::Object;

use super::*;

const AVCC: Bytes = Bytes::from_static(b"how pictures are coded");
const OTHER: Bytes = Bytes::from_static(b"how others are");
const ASC: Bytes = Bytes::from_static(b"\x12\x10");

/// A store of a test, in a folder that goes with it.
struct Scratch {
    folder: PathBuf,
    objects: Objects,
    key: SealKey,
}

impl Scratch {
    fn new(name: &str) -> Self {
        let name = format!("garim-received-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let objects = Objects::open(&store::Place::Folder(folder.clone())).unwrap();
        Self { folder, objects, key: SealKey::random() }
    }

    fn place(&self) -> Place {
        Place {
            objects: self.objects.clone(),
            folder: "received/x".parse().unwrap(),
            key: self.key.clone(),
            context: "received in x".to_owned(),
        }
    }

    async fn open(&self, claim: i64) -> Received {
        Received::open(self.place(), claim, false).await.unwrap()
    }

    async fn objects(&self) -> Vec<Object> {
        all(&self.objects, &self.place().folder).await.unwrap()
    }

    async fn takes(&self) -> Vec<Take> {
        takes(&self.objects().await).unwrap()
    }

    /// What a take holds.
    async fn plain(&self, take: &Take) -> Vec<u8> {
        let mut records = Vec::new();
        for piece in &take.pieces {
            records.extend(self.objects.get(piece, 64 << 20).await.unwrap());
        }
        let (key, context) = (self.key.clone(), "received in x".to_owned());
        let of = Sealed { key, context, len: take.bytes };
        let mut plain = Vec::new();
        Reader::new(Cursor::new(records), &of).unwrap().read_to_end(&mut plain).unwrap();
        plain
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A picture that shows which it is: the first of ten is a key frame.
fn picture(received: &mut Received, number: u64, at: u64) {
    let data = Bytes::from(format!("picture {number:04}"));
    received.picture((at, 0, number.is_multiple_of(10)), &data, ms(at));
}

/// What the tags of an FLV file are: type, time, what they hold.
fn tags(file: &[u8]) -> Vec<(u8, u64, Vec<u8>)> {
    let mut rest = file.strip_prefix(HEADER).unwrap();
    let mut tags = Vec::new();
    while !rest.is_empty() {
        let size = u32::from_be_bytes([0, rest[1], rest[2], rest[3]]) as usize;
        let time = u32::from_be_bytes([rest[7], rest[4], rest[5], rest[6]]);
        tags.push((rest[0], u64::from(time), rest[TAG..TAG + size].to_vec()));
        let (tail, after) = rest[TAG + size..].split_at(TAIL);
        assert_eq!(tail, u32::try_from(TAG + size).unwrap().to_be_bytes());
        rest = after;
    }
    tags
}

/// Numbers of the pictures in a file.
fn pictures(file: &[u8]) -> Vec<u64> {
    let number = |what: &[u8]| {
        std::str::from_utf8(what.get(5..)?).ok()?.strip_prefix("picture ")?.parse().ok()
    };
    tags(file).iter().filter_map(|(_, _, what)| number(what)).collect()
}

#[tokio::test]
async fn what_comes_is_written_as_rtmp_carries_it() {
    let s = Scratch::new("written");
    let mut received = s.open(1).await;
    received.video_format(&AVCC);
    received.sound_format(&ASC, ms(5000));
    received.sound(70_000, &Bytes::from_static(b"before any picture"), ms(5000));
    received.picture((70_000, 0, false), &Bytes::from_static(b"not decodable"), ms(5000));
    received.picture((70_010, 80, true), &Bytes::from_static(b"key"), ms(5010));
    received.sound(70_000, &Bytes::from_static(b"older"), ms(5015));
    received.sound(70_020, &Bytes::from_static(b"sound"), ms(5020));
    received.picture((70_043, -3, false), &Bytes::from_static(b"next"), ms(5043));
    received.finish(true).await.unwrap();
    let takes = s.takes().await;
    assert_eq!(takes.len(), 1);
    assert_eq!((takes[0].from_ms, takes[0].to_ms), (5010, 5043));
    let want: [(u8, u64, Vec<u8>); 6] = [
        (VIDEO, 0, [b"\x17\0\0\0\0", &AVCC[..]].concat()),
        (AUDIO, 0, [b"\xaf\0", &ASC[..]].concat()),
        (VIDEO, 0, b"\x17\x01\0\0\x50key".to_vec()),
        (AUDIO, 0, b"\xaf\x01older".to_vec()),
        (AUDIO, 10, b"\xaf\x01sound".to_vec()),
        (VIDEO, 33, b"\x27\x01\xff\xff\xfdnext".to_vec()),
    ];
    assert_eq!(tags(&s.plain(&takes[0]).await), want);
}

#[tokio::test]
async fn what_viewers_had_not_seen_when_all_was_covered_is_forgotten_and_sound_goes_on() {
    let s = Scratch::new("hidden");
    let mut received = s.open(1).await;
    received.video_format(&AVCC);
    received.sound_format(&ASC, ms(0));
    for number in 0..100 {
        let at = number * 100;
        received.look_after(ms(at));
        match number {
            40 => received.hide(true, ms(at)),
            55 => received.hide(false, ms(at)),
            _ => {}
        }
        picture(&mut received, number, at);
        received.sound(at, &Bytes::from_static(b"sound"), ms(at));
    }
    received.finish(true).await.unwrap();
    let plain = s.plain(&s.takes().await[0]).await;
    let sounds = tags(&plain).iter().filter(|(kind, _, _)| *kind == AUDIO).count();
    assert_eq!(sounds, 101);
    // From 1.25 s before somebody pressed the key to the first key frame after it was released.
    let want: Vec<u64> = (0..28).chain(60..100).collect();
    assert_eq!(pictures(&plain), want);
}

#[tokio::test]
async fn another_server_goes_on_in_the_same_file_and_of_two_the_later_one_is_believed() {
    let s = Scratch::new("taken-over");
    let mut first = s.open(1).await;
    first.video_format(&AVCC);
    first.sound_format(&ASC, ms(1000));
    (0..10).for_each(|number| picture(&mut first, number, 1000 + number));
    first.finish(false).await.unwrap();
    assert_eq!(takes(&s.objects().await), None, "the session is not over");
    // It did not notice yet.
    let (mut stale, mut second) = (s.open(1).await, s.open(2).await);
    for (received, from) in [(&mut stale, 500), (&mut second, 10)] {
        received.video_format(&AVCC);
        received.sound_format(&ASC, ms(9000));
        (from..from + 10).for_each(|number| picture(received, number, 9000 + number));
    }
    stale.finish(true).await.unwrap();
    assert_eq!(takes(&s.objects().await).map(|takes| takes.len()), Some(1));
    second.finish(true).await.unwrap();
    let takes = s.takes().await;
    assert_eq!(takes.len(), 1);
    let plain = s.plain(&takes[0]).await;
    assert_eq!(pictures(&plain), (0..20).collect::<Vec<_>>());
    assert_eq!(
        tags(&plain).iter().filter(|tag| tag.0 == AUDIO).count(),
        1,
        "formats are said once"
    );
    let third = s.open(3).await;
    third.finish(true).await.unwrap();
    assert_eq!(s.takes().await, takes);
}

#[tokio::test]
async fn another_format_is_another_take_and_the_same_one_again_is_not() {
    let s = Scratch::new("formats");
    let mut received = s.open(1).await;
    for (format, from) in [(&AVCC, 0), (&AVCC, 10), (&OTHER, 20), (&OTHER, 30)] {
        received.video_format(format);
        received.sound_format(&ASC, ms(from * 100));
        // It is in the middle of a group: decoded without its beginning it would be nothing.
        (from + 5..from + 15).for_each(|number| picture(&mut received, number, number * 100));
        received.gone();
    }
    received.finish(true).await.unwrap();
    let takes = s.takes().await;
    assert_eq!(takes.len(), 2);
    let of = |from: u64| from + 10..from + 15;
    let first = s.plain(&takes[0]).await;
    assert_eq!(pictures(&first), of(0).chain(of(10)).collect::<Vec<_>>());
    assert_eq!(pictures(&s.plain(&takes[1]).await), of(20).chain(of(30)).collect::<Vec<_>>());
    assert_eq!(tags(&first).iter().filter(|tag| tag.2.ends_with(&AVCC)).count(), 1);
    assert!(takes[0].duration_ms() > 1000, "{takes:?}");
}

#[tokio::test]
async fn times_go_on_whatever_a_publisher_says() {
    let s = Scratch::new("times");
    let mut received = s.open(1).await;
    received.video_format(&AVCC);
    for (number, theirs) in (0..).zip([7_000_000, 7_000_040, 40, 40, 80, 5_000_000_000, 0]) {
        let data = Bytes::from(format!("picture {number:04}"));
        received.picture((theirs, 0, true), &data, ms(1000 + number * 40));
    }
    received.finish(true).await.unwrap();
    let file = s.plain(&s.takes().await[0]).await;
    let times: Vec<u64> = tags(&file).iter().skip(1).map(|tag| tag.1).collect();
    assert_eq!(times, [0, 40, 80, 81, 120, 200, 240]);
}

#[tokio::test]
async fn a_store_that_fails_or_is_too_slow_ends_it() {
    let s = Scratch::new("fails");
    let mut received = s.open(1).await;
    std::fs::create_dir_all(&s.folder).unwrap();
    std::fs::write(s.folder.join("received"), "in the way of the folder").unwrap();
    received.video_format(&AVCC);
    picture(&mut received, 0, 1000);
    assert!(received.finish(true).await.is_err());

    let s = Scratch::new("floods");
    let mut received = s.open(1).await;
    received.video_format(&AVCC);
    let large = Bytes::from(vec![7; 4 << 20]);
    for number in 0..9 {
        received.picture((number, 0, true), &large, ms(1000 + number));
    }
    assert!(received.failed().unwrap().contains("more than can be kept"));
    assert!(received.waiting.is_empty());
    assert!(received.finish(true).await.is_err());
    assert_eq!(takes(&s.objects().await), None);
}

#[tokio::test]
async fn all_that_waits_at_the_end_is_stored_however_much_it_is() {
    let s = Scratch::new("end");
    let mut received = s.open(1).await;
    received.video_format(&AVCC);
    let large = Bytes::from(vec![7; 2 << 20]);
    for number in 0..14 {
        received.picture((number * 40, 0, true), &large, ms(1000 + number * 40));
    }
    received.finish(true).await.unwrap();
    let takes = s.takes().await;
    assert_eq!(takes[0].pieces.len(), 14);
    // The format, and the pictures.
    assert_eq!(tags(&s.plain(&takes[0]).await).len(), 15);
}
