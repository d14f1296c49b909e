//! The watched folder: what is put into it is sealed, searched, covered and published by itself.
//!
//! An HLS archive is taken up by its playlist and never by one of its parts: whoever takes up a part deletes it,
//! and the archive with it. So whatever lies in the folder of an archive, or below, is left to its playlist.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use store::{Error, Kind, NewJob, NewVideo, Object, ObjectPath, Original, Source};

use crate::service::Service;
use crate::work::{MosaicOptions, SearchWork, default_collection};

/// Objects of the watched folder that are listed at once.
const PAGE: usize = 1000;
/// An object is taken up when it has not been written for this long: uploads to a folder grow.
const SETTLED: SignedDuration = SignedDuration::from_secs(5);

/// What is taken up by itself, and how.
#[derive(Clone, Debug)]
pub struct Watch {
    /// Folder of the store that has a folder for each user.
    pub prefix: ObjectPath,
    /// What becomes of the originals.
    pub original: Original,
    /// Days after which the videos are deleted of users who have no number of their own.
    pub days: Option<u32>,
}

impl Watch {
    /// An object's name below the watched folder: `{user}/...`.
    fn below<'o>(&self, object: &'o Object) -> &'o str {
        let below = object.path.as_str().strip_prefix(self.prefix.as_str()).unwrap_or_default();
        below.trim_start_matches('/')
    }
}

/// Takes up every object `{prefix}/{user}/...` that was not taken up yet. `tell`: says what it leaves.
///
/// # Errors
/// When the objects cannot be listed.
pub async fn take_up(
    service: &Service,
    watch: &Watch,
    tell: bool,
    now: Timestamp,
) -> Result<(), Error> {
    // Twice through the list: a playlist may come long after what belongs to it, and was perhaps written later.
    let mut folders = Folders::default();
    let mut pages = Pages::of(service, watch);
    while let Some(page) = pages.next().await? {
        page.iter().for_each(|object| folders.note(watch.below(object), object.modified));
    }
    let (mut pages, mut parts) = (Pages::of(service, watch), 0_u64);
    while let Some(page) = pages.next().await? {
        for object in page.iter().filter(|object| starts_chain(watch.below(object))) {
            match folders.settled(watch.below(object), object.modified) {
                Some(settled) if settled + SETTLED <= now => {
                    if let Err(error) = take(service, watch, object, now).await {
                        tracing::warn!(object = object.path.as_str(), %error, "an object cannot be taken up");
                    }
                }
                Some(_) => {}
                None => parts += 1,
            }
        }
    }
    if tell && parts > 0 {
        tracing::warn!(
            objects = parts,
            "in the watched folder, videos beside an HLS archive are left: they may be parts of it"
        );
    }
    Ok(())
}

/// The list of the watched folder, page by page.
struct Pages<'a> {
    service: &'a Service,
    prefix: &'a ObjectPath,
    after: Option<ObjectPath>,
    over: bool,
}

impl<'a> Pages<'a> {
    fn of(service: &'a Service, watch: &'a Watch) -> Self {
        Self { service, prefix: &watch.prefix, after: None, over: false }
    }

    async fn next(&mut self) -> Result<Option<Vec<Object>>, Error> {
        if self.over {
            return Ok(None);
        }
        let objects = &self.service.objects;
        let page = objects.list(Some(self.prefix), self.after.as_ref(), PAGE).await?;
        self.over = page.len() < PAGE;
        self.after = page.last().map(|object| object.path.clone());
        Ok(Some(page))
    }
}

/// What the folders of a list hold.
#[derive(Default)]
struct Folders(HashMap<String, Folder>);

#[derive(Clone, Copy, Default)]
struct Folder {
    /// Whether it has a playlist, or fragments that wait for theirs.
    is_archive: bool,
    /// When the last object in it, or below, was written.
    newest: Timestamp,
}

impl Folders {
    /// `below`: the object's name below the watched folder, which is itself nobody's archive.
    fn note(&mut self, below: &str, modified: Timestamp) {
        for folder in folders_of(below) {
            let known = self.0.entry(folder.to_owned()).or_default();
            known.newest = known.newest.max(modified);
        }
        if let Some(folder) = folders_of(below).next().filter(|_| is_of_archive(below)) {
            self.0.entry(folder.to_owned()).or_default().is_archive = true;
        }
    }

    /// Since when everything that belongs to an object is as it is; `None`: it is itself a part of an archive. A
    /// playlist may arrive before its segments.
    fn settled(&self, below: &str, modified: Timestamp) -> Option<Timestamp> {
        let of = |folder: &str| self.0.get(folder).copied().unwrap_or_default();
        if kind(below) == "m3u8" {
            return folders_of(below).next().map(|folder| of(folder).newest);
        }
        let is_part = folders_of(below).any(|folder| of(folder).is_archive);
        (!is_part).then_some(modified)
    }
}

/// The folders that an object is in, innermost first.
fn folders_of(below: &str) -> impl Iterator<Item = &str> {
    below.rmatch_indices('/').map(|(end, _)| &below[..end])
}

/// What only archives hold: fragments of fMP4 mean nothing without their initialisation section, which is called
/// like a video.
fn is_of_archive(name: &str) -> bool {
    ["m3u8", "m4s", "cmfv", "cmfa"].contains(&kind(name).as_str())
}

/// The end of a name, which says what kind of file it is, in lower case.
fn kind(name: &str) -> String {
    let base = name.rsplit('/').next().unwrap_or(name);
    base.rsplit_once('.').map_or(String::new(), |(_, kind)| kind.to_ascii_lowercase())
}

/// The whole chain for one object: seal it, search faces in it, cover it, publish.
async fn take(
    service: &Service,
    watch: &Watch,
    object: &Object,
    now: Timestamp,
) -> Result<(), Error> {
    let path = object.path.as_str();
    let Some((user, rest)) = watch.below(object).split_once('/') else { return Ok(()) };
    if store::check_user_name(user).is_err() {
        return Ok(());
    }
    let base = rest.rsplit('/').next().unwrap_or(rest);
    let video = NewVideo {
        owner: user.to_owned(),
        name: base.chars().take(50).collect(),
        source: Source::Object(path.to_owned()),
        original: watch.original,
        expires_at: None,
        days: watch.days,
    };
    let mark = format!("{} {}", object.size, object.modified.as_millisecond());
    let json = |value: Result<Value, serde_json::Error>| value.unwrap_or_default();
    // Without such a collection, or with nobody in it who agrees, everybody is covered.
    let collection = Some(default_collection());
    let search = SearchWork { collection: collection.clone(), ..SearchWork::default() };
    let options = MosaicOptions { collection, ..MosaicOptions::default() };
    let chain = [
        (Kind::Ingest, json!({})),
        (Kind::Search, json(serde_json::to_value(search))),
        (Kind::Mosaic, json(serde_json::to_value(options))),
    ];
    let job =
        |(kind, work)| NewJob { tag: Some("watched".to_owned()), ..NewJob::new(user, kind, work) };
    let jobs: Vec<NewJob> = chain.into_iter().map(job).collect();
    if service.store.take_up(path, &mark, &video, &jobs, now).await?.is_some() {
        tracing::info!(object = path, user, "taken up");
    }
    Ok(())
}

/// Whether an object is one that work begins with: of an HLS archive that is its playlist.
fn starts_chain(name: &str) -> bool {
    let playable = ["mp4", "mov", "m4v", "mkv", "webm", "mts", "m2ts", "avi", "flv", "m3u8"];
    // A lone .ts or .m4s may be a segment of an archive, and segments are taken up with their playlist.
    playable.contains(&kind(name).as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(listed: &[(&str, i64)]) -> Vec<Option<i64>> {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut folders = Folders::default();
        listed.iter().for_each(|(name, second)| folders.note(name, at(*second)));
        let settled = |(name, second): &(&str, i64)| folders.settled(name, at(*second));
        listed.iter().map(|object| settled(object).map(Timestamp::as_second)).collect()
    }

    #[test]
    fn what_lies_in_the_folder_of_an_archive_or_below_is_a_part_of_it() {
        let listed = [
            ("mina/a.mp4", 1),
            ("mina/show/init.mp4", 2),
            ("mina/show/sub/b.mp4", 3),
            ("mina/show/z.M3U8", 4),
            ("mina/showreel.mp4", 5),
            ("mina/raw/init.mp4", 6),
            ("mina/raw/0.m4s", 7),
            // In no user's folder.
            ("index.m3u8", 8),
        ];
        let part = None;
        assert_eq!(settled(&listed), [Some(1), part, part, Some(4), Some(5), part, part, None]);
    }

    #[test]
    fn an_archive_is_as_old_as_the_last_of_its_files() {
        let listed = [("mina/show/a.ts", 1), ("mina/show/index.m3u8", 2), ("mina/show/x/b.ts", 9)];
        assert_eq!(settled(&listed)[1], Some(9));
    }
}
