//! Taking up an object that somebody else wrote, as a sealed original: a video file, or an HLS archive, whose
//! segments put one after the other are one file.

use futures_util::StreamExt;
use jiff::Timestamp;
use serde_json::json;
use store::{Error, ObjectPath, Video, VideoState};

use super::{Attempt, Trouble};
use crate::child::Task;
use crate::sealing::Sealer;

/// Longest playlist, in bytes: a day of segments.
const MAX_PLAYLIST: usize = 8 << 20;
/// Segments at most.
const MAX_SEGMENTS: usize = 100_000;

/// Seals the object that the video was made of.
pub async fn run(attempt: &Attempt) -> Result<(), Trouble> {
    let video = attempt.video().await?;
    let store = &attempt.service.store;
    if let VideoState::Uploading { received } = video.state {
        if received > 0 {
            // Another attempt died over it.
            store.forget_parts(video.id, Timestamp::now()).await?;
        }
        take(attempt, &video).await?;
    }
    let video = attempt.video().await?;
    let info = probe(attempt, &video).await?;
    let result = json!({"video": video.id, "bytes": video.length, "info": info});
    // Sealed now: what was taken up does not stay behind in the clear.
    let mut used: Vec<String> = Vec::new();
    if let Some(object) = object(&video) {
        let object = object?;
        used.extend(sources(attempt, &object).await?.iter().map(|o| o.as_str().to_owned()));
        // A playlist is none of its own segments.
        used.push(object.as_str().to_owned());
    }
    Ok(store.complete_discarding(&attempt.fence, &result, &used, Timestamp::now()).await?)
}

/// The object that a video is taken from; `None` for an upload.
fn object(video: &Video) -> Option<Result<ObjectPath, Trouble>> {
    video.object.as_ref().map(|name| name.parse().map_err(Trouble::from))
}

async fn take(attempt: &Attempt, video: &Video) -> Result<(), Trouble> {
    let object = object(video)
        .ok_or_else(|| Trouble::never("not_found", "the upload is not complete"))??;
    let (service, owner) = (&attempt.service, &attempt.job.owner);
    let sources = sources(attempt, &object).await?;
    let mut length = 0;
    for source in &sources {
        length += match service.objects.head(source).await {
            Ok(object) => object.size,
            // Perhaps the playlist came first.
            Err(error @ Error::NotFound { .. }) => {
                return Err(Trouble::later("segment_missing", error.to_string()));
            }
            Err(error) => return Err(error.into()),
        };
    }
    if length == 0 {
        return Err(Trouble::never("input_refused", format!("{object}: is empty")));
    }
    service.store.set_length(owner, video.id, length).await?;
    let mut sealer = Sealer::open(service, owner, video.id, 0, None).await?;
    let mut done = 0;
    for source in &sources {
        let mut contents = service.objects.stream(source, None).await?;
        while let Some(bytes) = contents.bytes.next().await {
            let bytes = bytes?;
            attempt.go_on()?;
            sealer.push(&bytes).await?;
            done += bytes.len() as u64;
            attempt.tell("seal", done, Some(length));
        }
    }
    sealer.finish().await?;
    Ok(())
}

/// What a probe says of the original; a file that is no video is refused here.
async fn probe(attempt: &Attempt, video: &Video) -> Result<serde_json::Value, Trouble> {
    let input = attempt.original(video, "probe").await?;
    let info: serde_json::Value = attempt.child(Task::Probe { input }).await?;
    attempt.service.store.set_info(video.id, &info).await?;
    Ok(info)
}

/// The objects that make up one file: the object, or what a playlist names.
async fn sources(attempt: &Attempt, object: &ObjectPath) -> Result<Vec<ObjectPath>, Trouble> {
    if !object.as_str().to_ascii_lowercase().ends_with(".m3u8") {
        return Ok(vec![object.clone()]);
    }
    let bytes = attempt.service.objects.get(object, MAX_PLAYLIST).await?;
    let refused = |why: &str| Trouble::never("input_refused", format!("{object}: {why}"));
    let text = std::str::from_utf8(&bytes).map_err(|_| refused("is no playlist: not UTF-8"))?;
    let names = segments(text).map_err(|why| refused(&why))?;
    let folder = object.as_str().rsplit_once('/').map_or("", |(folder, _)| folder);
    let path = |name: &String| {
        let full = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
        full.parse::<ObjectPath>()
            .map_err(|_| refused(&format!("{name:?} leads out of its folder")))
    };
    names.iter().map(path).collect()
}

/// Names of the initialisation section and the segments of a media playlist (RFC 8216, section 4), in order.
fn segments(text: &str) -> Result<Vec<String>, String> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    if lines.next() != Some("#EXTM3U") {
        return Err("is no playlist: it does not begin with #EXTM3U".to_owned());
    }
    let mut names: Vec<String> = Vec::new();
    let mut map: Option<String> = None;
    let mut ended = false;
    for line in lines {
        let refused = |what: &str| Err(format!("{what} cannot be put together; `ffmpeg -i` can"));
        let (tag, value) = line.split_once(':').unwrap_or((line, ""));
        match tag {
            "#EXT-X-STREAM-INF" => {
                return Err("lists variants: name the playlist of one of them".to_owned());
            }
            "#EXT-X-KEY" if !value.contains("METHOD=NONE") => return refused("encrypted segments"),
            "#EXT-X-BYTERANGE" => return refused("segments that are parts of files"),
            "#EXT-X-DISCONTINUITY" => return refused("segments with a discontinuity"),
            "#EXT-X-ENDLIST" => ended = true,
            "#EXT-X-MAP" => {
                let name = attribute(value, "URI").ok_or("has an EXT-X-MAP without URI")?;
                match &map {
                    None => {
                        names.insert(0, check(name)?);
                        map = Some(name.to_owned());
                    }
                    Some(first) if first == name => {}
                    Some(_) => return refused("segments of several initialisation sections"),
                }
            }
            _ if line.starts_with('#') => {}
            _ => names.push(check(line)?),
        }
        if names.len() > MAX_SEGMENTS {
            return Err(format!("has more than {MAX_SEGMENTS} segments"));
        }
    }
    if !ended {
        return Err("is not complete: it has no EXT-X-ENDLIST".to_owned());
    }
    if names.len() == usize::from(map.is_some()) {
        Err("has no segments".to_owned())
    } else {
        Ok(names)
    }
}

fn attribute<'a>(list: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = list.split_once(&format!("{name}=\""))?;
    rest.split_once('"').map(|(value, _)| value)
}

fn check(name: &str) -> Result<String, String> {
    let plain = name.split(['?', '#']).next().unwrap_or_default();
    let bad =
        plain.contains("://") || plain.starts_with('/') || plain.split('/').any(|s| s == "..");
    if bad { Err(format!("{name:?} leads out of its folder")) } else { Ok(plain.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_its_initialisation_section_and_its_segments_in_order() {
        let text = "#EXTM3U\n#EXT-X-MAP:URI=\"init.mp4\"\n#EXTINF:2,\na.m4s\n#EXTINF:2,\nsub/b.m4s?x=1\n#EXT-X-ENDLIST\n";
        assert_eq!(segments(text).unwrap(), ["init.mp4", "a.m4s", "sub/b.m4s"]);
    }

    #[test]
    fn what_is_no_whole_archive_in_its_own_folder_is_refused() {
        for (lines, why) in [
            ("#EXTINF:2,\na.ts\n", "not complete"),
            ("#EXT-X-ENDLIST\n", "no segments"),
            ("#EXTINF:2,\n../a.ts\n#EXT-X-ENDLIST\n", "leads out"),
            ("#EXTINF:2,\nhttp://x/a.ts\n#EXT-X-ENDLIST\n", "leads out"),
            ("#EXTINF:2,\n/etc/passwd\n#EXT-X-ENDLIST\n", "leads out"),
            (
                "#EXT-X-KEY:METHOD=AES-128,URI=\"k\"\n#EXTINF:2,\na.ts\n#EXT-X-ENDLIST\n",
                "encrypted",
            ),
            ("#EXT-X-STREAM-INF:BANDWIDTH=1\nv.m3u8\n", "variants"),
        ] {
            let error = segments(&format!("#EXTM3U\n{lines}")).unwrap_err();
            assert!(error.contains(why), "{lines:?}: {error}");
        }
        assert!(segments("<html>").is_err());
    }
}
