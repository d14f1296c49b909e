//! The page in headless Chromium, which plays what FFmpeg encoded as if it were published now.

use std::process::Command;

use bytes::Buf;
use store::{Ingest, Playback};
use tokio::time::{Instant, sleep_until};

use super::*;

/// Frames of a part: all begin with a key frame, which is how FFmpeg is made to cut there.
const COMMAND: &str = "-f lavfi -i testsrc2=size=640x360:rate=30 -f lavfi -i sine=440:sample_rate=48000 -t 60 \
     -c:v libx264 -preset veryfast -profile:v high -bf 0 -g 10 -sc_threshold 0 -c:a aac -f mp4 \
     -movflags frag_keyframe+empty_moov+default_base_moof";

/// The header, and fragments of ten frames (ISO/IEC 14496-12, section 4.2).
fn fragments(file: Vec<u8>) -> (Bytes, Vec<Bytes>) {
    let (mut rest, mut header, mut fragments) = (Bytes::from(file), Vec::new(), Vec::new());
    let mut fragment = Vec::new();
    while !rest.is_empty() {
        let length = rest.clone().get_u32() as usize;
        let kind = rest.slice(4..8);
        let bytes = rest.split_to(length);
        match &kind[..] {
            b"ftyp" | b"moov" => header.extend_from_slice(&bytes),
            b"moof" => fragment = bytes.to_vec(),
            b"mdat" => {
                fragments.push([std::mem::take(&mut fragment), bytes.to_vec()].concat().into())
            }
            _ => {}
        }
    }
    (header.into(), fragments)
}

impl Show {
    /// Publishes fragments by the clock, from `start` on.
    async fn publish(&self, fragments: &[Bytes], from: usize, start: Instant) {
        for (n, media) in fragments.iter().enumerate() {
            // It is there when its last frame was taken.
            let taken = Duration::from_millis(n as u64 * 1000 / 3);
            sleep_until(start + taken + Duration::from_millis(334)).await;
            let part = Part {
                media: media.clone(),
                duration: PART,
                independent: true,
                starts_segment: (from + n).is_multiple_of(6),
                program_date_time: Timestamp::now() - SignedDuration::from_millis(334),
            };
            self.origin.part(part).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs chromium and a minute: make check-watch"]
async fn a_page_plays_what_is_published() {
    let server = Server::start().await;
    let show = server.show("mina", Playback::Public).await;
    let work = tempfile::tempdir().unwrap();
    let file = work.path().join("live.mp4");
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error"]).args(COMMAND.split_whitespace()).arg(&file);
    assert!(ffmpeg.status().unwrap().success());
    let (header, parts) = fragments(std::fs::read(&file).unwrap());
    assert_eq!(parts.len(), 180);
    let now = Timestamp::now();
    let (store, lease) = (&server.store, SignedDuration::from_hours(1));
    let claimed = store.claim_channels(server.id, lease, now, 1).await.unwrap().remove(0);
    store.channel_running(&claimed.fence, now).await.unwrap();

    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/check-watch.py");
    let url = server.url(&format!("/watch/{}", show.channel));
    let page = tokio::process::Command::new("python3").arg(script).arg(url).arg(&file).spawn();
    let mut page = page.unwrap();
    let segment = Duration90k(PART.0 * 6);
    show.origin.describe(rendition("avc1.64001e,mp4a.40.2")).unwrap();
    // Nobody publishes for a while; then somebody does, goes away, and comes back.
    let start = Instant::now() + Duration::from_secs(6);
    sleep_until(start).await;
    store.set_ingest(&claimed.fence, &Ingest::Connected, Timestamp::now()).await.unwrap();
    show.origin.map(header.clone(), segment).unwrap();
    show.publish(&parts[..72], 0, start).await;
    let back = start + Duration::from_secs(24 + 9);
    sleep_until(back).await;
    show.origin.map([&header[..], b"\0\0\0\x08free"].concat().into(), segment).unwrap();
    show.publish(&parts[72..144], 0, back).await;
    show.origin.end();
    let user = claimed.session.owner;
    store.stop_live(&user, show.channel, "test", Timestamp::now()).await.unwrap();
    store.channel_stopped(&claimed.fence, Timestamp::now()).await.unwrap();
    assert!(page.wait().await.unwrap().success());
}
