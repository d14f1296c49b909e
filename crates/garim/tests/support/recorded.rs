//! What a live channel left: a session in the database, and segments among the objects, made of a clip by ffmpeg.

use std::path::PathBuf;

use domain::{ServerId, SessionId, VideoId};
use jiff::{SignedDuration, Timestamp};
use store::{
    ChannelFence, KeySource, Location, NewLive, Recorded, RecordingState, Store, recording_folder,
};
use tokio::runtime::Runtime;

use super::Scratch;

/// Ticks of a second of pictures, and samples of a second of sound.
const TICKS: u64 = 90_000;
const RATE: u64 = 48_000;

/// A session of the user `admin` that is being recorded. Nothing else in the test is a server of channels.
pub struct Live {
    runtime: Runtime,
    pub store: Store,
    fence: ChannelFence,
    pub session: SessionId,
    /// Folder of the recording.
    pub folder: PathBuf,
    started: Timestamp,
}

impl Live {
    /// Begins one in the data folder of a server, before that is started.
    pub fn begin(s: &Scratch) -> Self {
        let runtime = Runtime::new().unwrap();
        let location = Location::Folder(s.path("data"));
        let key = KeySource::File(s.path("data/server.key"));
        let lease = SignedDuration::from_hours(1);
        let now = Timestamp::now();
        let (store, fence, session) = runtime.block_on(async {
            let store = Store::open(&location, &key).await.unwrap();
            let server = ServerId::new(now.as_millisecond());
            store.offer_capacity(server, 5, &Default::default(), lease, now).await.unwrap();
            let new = NewLive { owner: "admin".to_owned(), collection: None, limit: 5 };
            let session = store.start_live(&new, "test", now).await.unwrap().session;
            let claimed = store.claim_channels(server, lease, now, 1).await.unwrap().remove(0);
            store.channel_running(&claimed.fence, now).await.unwrap();
            let recording = RecordingState::Recording;
            store.set_recording(&claimed.fence, &recording, now).await.unwrap();
            (store, claimed.fence, session)
        });
        let started = runtime.block_on(store.session(None, session)).unwrap().started_at;
        let folder = recording_folder("admin", session, started);
        let folder = s.path(&format!("data/objects/{folder}"));
        std::fs::create_dir_all(&folder).unwrap();
        Self { runtime, store, fence, session, folder, started }
    }

    /// Records segments, one after the other from number `first` on.
    pub fn record(&self, header: u64, first: u64, clip: &Fragmented, segments: &[Fragment]) {
        std::fs::write(self.folder.join(format!("init-{header:010}.mp4")), &clip.header).unwrap();
        for (Fragment { ticks, bytes }, number) in segments.iter().zip(first..) {
            let name = format!("seg-{number:010}-{header:010}-{ticks}.m4s");
            std::fs::write(self.folder.join(name), bytes).unwrap();
        }
    }

    /// Says who may be seen, from the first segment on.
    pub fn shows(&self, people: &[&str]) {
        let name = self.folder.join("people-0000000000-0000000000.txt");
        std::fs::write(name, people.join("\n")).unwrap();
    }

    /// The user stops the channel; gives what the recording becomes.
    pub fn stop(&self) -> VideoId {
        self.runtime.block_on(async {
            let (store, now) = (&self.store, Timestamp::now());
            store.stop_live("admin", self.fence.channel, "test", now).await.unwrap();
            let recorded = Recorded { segments: 1, bytes: 1, duration_ms: 1 };
            store.set_recorded(&self.fence, &recorded).await.unwrap();
            let video = store.finish_recording(&self.fence, now).await.unwrap().unwrap();
            store.channel_stopped(&self.fence, now).await.unwrap();
            video
        })
    }

    pub fn state(&self) -> RecordingState {
        self.runtime.block_on(self.store.session(None, self.session)).unwrap().recording
    }
}

/// A clip as a live channel sends it: a header, and fragments of which each begins with a key frame.
pub struct Fragmented {
    pub header: Vec<u8>,
    pub fragments: Vec<Fragment>,
}

#[derive(Clone)]
pub struct Fragment {
    pub ticks: u64,
    pub bytes: Vec<u8>,
}

impl Fragmented {
    /// Of a file whose pictures come in groups of `group`, by packets as they are. Picture and sound begin at zero.
    pub fn of(s: &Scratch, file: &str, group: usize) -> Self {
        // So that sound begins with the picture, and without what an encoder puts before it.
        s.ffmpeg(&format!("-i {file} -vn -c:a copy sound.aac"));
        s.ffmpeg(&format!(
            "-i {file} -i sound.aac -map 0:v -map 1:a -c copy -bsf:a aac_adtstoasc -shortest -use_editlist 0 \
             -video_track_timescale 90000 -movflags +frag_keyframe+empty_moov+default_base_moof fragmented.mp4"
        ));
        let times = s.times("fragmented.mp4");
        let starts = times.iter().map(|at| (at.as_f64() * TICKS as f64).round() as u64);
        let starts: Vec<u64> = starts.collect();
        assert_eq!(starts[0], 0);
        let step = starts[1] - starts[0];
        let ends = starts.last().unwrap() + step;
        let mut edges: Vec<u64> = starts.iter().step_by(group).copied().collect();
        edges.push(ends);
        let content = s.read("fragmented.mp4");
        let (mut header, mut fragments): (Vec<u8>, Vec<Vec<u8>>) = (Vec::new(), Vec::new());
        for (kind, bytes) in boxes(&content) {
            match (&kind, fragments.last_mut()) {
                (b"ftyp" | b"moov", _) => header.extend(bytes),
                (b"moof", _) => fragments.push(bytes.to_vec()),
                (b"mdat", Some(last)) => last.extend(bytes),
                _ => {}
            }
        }
        assert_eq!(fragments.len(), edges.len() - 1, "one fragment a group");
        let ticks = edges.windows(2).map(|edge| edge[1] - edge[0]);
        let fragments = fragments.into_iter().zip(ticks);
        let fragments = fragments.map(|(bytes, ticks)| Fragment { ticks, bytes }).collect();
        Self { header, fragments }
    }

    /// The fragments, so many seconds later.
    pub fn later(&self, seconds: u64) -> Vec<Fragment> {
        let mut fragments = self.fragments.clone();
        for fragment in &mut fragments {
            shift(&mut fragment.bytes, |track, at| {
                at + seconds * if track == 1 { TICKS } else { RATE }
            });
        }
        fragments
    }

    /// All of it as one file.
    pub fn whole(&self) -> Vec<u8> {
        let media = self.fragments.iter().flat_map(|fragment| &fragment.bytes);
        self.header.iter().chain(media).copied().collect()
    }

    pub fn ticks(&self) -> u64 {
        self.fragments.iter().map(|fragment| fragment.ticks).sum()
    }
}

/// Types and bytes of the boxes in `content` (ISO/IEC 14496-12, 4.2).
pub fn boxes(content: &[u8]) -> Vec<([u8; 4], &[u8])> {
    let (mut found, mut rest) = (Vec::new(), content);
    while rest.len() >= 8 {
        let length = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
        let (this, after) = rest.split_at(length);
        found.push((this[4..8].try_into().unwrap(), this));
        rest = after;
    }
    found
}

/// Changes when the tracks of a fragment begin: `to` gets the track and its time.
fn shift(fragment: &mut [u8], to: impl Fn(u32, u64) -> u64) {
    let head = u32::from_be_bytes(fragment[..4].try_into().unwrap()) as usize;
    let head = &mut fragment[..head];
    let places = |head: &[u8], kind: &[u8]| -> Vec<usize> {
        (0..head.len() - 4).filter(|at| &head[*at..at + 4] == kind).collect()
    };
    for (track, at) in places(head, b"tfhd").into_iter().zip(places(head, b"tfdt")) {
        let track = u32::from_be_bytes(head[track + 8..track + 12].try_into().unwrap());
        assert_eq!(head[at + 4], 1, "a time of 64 bits");
        let time = &mut head[at + 8..at + 16];
        let was = u64::from_be_bytes((*time).try_into().unwrap());
        time.copy_from_slice(&to(track, was).to_be_bytes());
    }
}
