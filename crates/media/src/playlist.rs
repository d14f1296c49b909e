//! Local HLS playlists: read only when every file they name lies in the playlist's own folder.
//!
//! A playlist is a list of files to open, so it can be an attack: one named `.mp4` made FFmpeg read
//! other local files. Playlists are therefore recognised by content before FFmpeg sees them.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use crate::MediaError;

/// Longest playlist read; a day of two-second segments is about 2 MB.
const MAX_BYTES: u64 = 8 << 20;
/// Playlists that a master playlist may name.
const MAX_NESTED: usize = 64;

/// Whether the file starts as a playlist does (RFC 8216, 4.3.1.1).
pub(crate) fn looks_like_one(head: &[u8]) -> bool {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let start = head.iter().position(|b| !b.is_ascii_whitespace()).unwrap_or(head.len());
    head[start..].starts_with(b"#EXTM3U")
}

/// The playlist to open in a folder: the only one, else the one that lists the others.
pub(crate) fn in_folder(folder: &Path) -> Result<PathBuf, MediaError> {
    let input = |why: String| MediaError::Input { path: folder.to_owned(), why };
    let mut found = Vec::new();
    for entry in folder.read_dir().map_err(|e| input(e.to_string()))? {
        let path = entry.map_err(|e| input(e.to_string()))?.path();
        if has_extension(&path) {
            found.push(path);
        }
    }
    found.sort();
    if found.len() > 1 {
        let mut masters = Vec::new();
        for path in &found {
            if read(path)?.contains("#EXT-X-STREAM-INF") {
                masters.push(path.clone());
            }
        }
        if masters.len() == 1 {
            found = masters;
        }
    }
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(input("holds no .m3u8 playlist".to_owned())),
        many => Err(input(format!("holds {} playlists; name the one to use", many.len()))),
    }
}

/// Whether the name says that it is a playlist.
pub(crate) fn has_extension(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("m3u8"))
}

/// Refuses a playlist, or one it names, that points outside its folder, at the network, or at keys.
pub(crate) fn check(path: &Path) -> Result<(), MediaError> {
    let mut waiting = vec![path.to_owned()];
    let mut seen = HashSet::new();
    while let Some(playlist) = waiting.pop() {
        if !seen.insert(playlist.clone()) {
            continue;
        }
        if seen.len() > MAX_NESTED {
            return Err(refused(path, format!("names more than {MAX_NESTED} playlists")));
        }
        let folder = playlist.parent().unwrap_or(Path::new("."));
        for uri in uris(&playlist, &read(&playlist)?)? {
            let file = inside(folder, &uri).map_err(|why| refused(&playlist, why))?;
            if has_extension(&file) {
                waiting.push(file);
            }
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<String, MediaError> {
    let input = |why: String| MediaError::Input { path: path.to_owned(), why };
    let file = File::open(path).map_err(|e| input(e.to_string()))?;
    let mut text = String::new();
    let read = file.take(MAX_BYTES + 1).read_to_string(&mut text);
    match read {
        Ok(n) if n as u64 > MAX_BYTES => Err(input(format!("is longer than {MAX_BYTES} bytes"))),
        Ok(_) => Ok(text),
        Err(e) => Err(input(format!("is not a text playlist: {e}"))),
    }
}

/// Every URI a playlist names: its plain lines, and `URI="…"` attributes of its tags.
fn uris(path: &Path, text: &str) -> Result<Vec<String>, MediaError> {
    let mut found = Vec::new();
    for line in text.lines().map(str::trim).filter(|l| !l.is_empty()) {
        if line.starts_with("#EXT-X-KEY") && !line.contains("METHOD=NONE") {
            return Err(refused(path, "is encrypted; decrypt it first".to_owned()));
        }
        if !line.starts_with('#') {
            found.push(line.to_owned());
        } else if let Some((_, rest)) = line.split_once("URI=\"") {
            found.push(rest.split('"').next().unwrap_or_default().to_owned());
        }
    }
    Ok(found)
}

/// The file a URI names, if it lies in `folder` and exists.
fn inside(folder: &Path, uri: &str) -> Result<PathBuf, String> {
    let relative = Path::new(uri);
    let plain =
        relative.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
    if !plain || uri.contains(':') || uri.contains('\\') {
        return Err(format!("points at {uri:?}, which is not a file in its own folder"));
    }
    let file = folder.join(relative);
    let real = file.canonicalize().map_err(|e| format!("names {uri:?}: {e}"))?;
    let home = folder_or_here(folder).canonicalize().map_err(|e| e.to_string())?;
    if !real.starts_with(home) {
        return Err(format!("points at {uri:?}, a link out of its folder"));
    }
    Ok(file)
}

fn folder_or_here(folder: &Path) -> &Path {
    if folder.as_os_str().is_empty() { Path::new(".") } else { folder }
}

fn refused(path: &Path, why: String) -> MediaError {
    MediaError::Refused { path: path.to_owned(), why }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(text: &str) -> Result<(), String> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.ts"), "x").unwrap();
        let path = dir.path().join("list.m3u8");
        std::fs::write(&path, text).unwrap();
        check(&path).map_err(|e| e.to_string())
    }

    #[test]
    fn files_beside_it_are_fine() {
        verdict("#EXTM3U\n#EXTINF:2,\na.ts\n").unwrap();
        verdict("#EXTM3U\n#EXT-X-MAP:URI=\"a.ts\"\n#EXTINF:2,\n./a.ts\n").unwrap();
    }

    #[test]
    fn everything_else_is_refused() {
        for line in ["/etc/passwd", "../a.ts", "http://x/a.ts", "file:///etc/passwd", "concat:a|b"]
        {
            let why = verdict(&format!("#EXTM3U\n#EXTINF:2,\n{line}\n")).unwrap_err();
            assert!(why.contains("not a file in its own folder"), "{line}: {why}");
        }
        assert!(verdict("#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI=\"a.ts\"\n").is_err());
        assert!(verdict("#EXTM3U\nmissing.ts\n").unwrap_err().contains("missing.ts"));
    }

    #[test]
    fn a_link_out_of_the_folder_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("a.ts")).unwrap();
        let path = dir.path().join("list.m3u8");
        std::fs::write(&path, "#EXTM3U\na.ts\n").unwrap();
        assert!(check(&path).unwrap_err().to_string().contains("a link out"));
    }

    #[test]
    fn a_playlist_is_known_by_its_first_line() {
        assert!(looks_like_one(b"#EXTM3U\n"));
        assert!(looks_like_one(b"\xef\xbb\xbf\n #EXTM3U"));
        assert!(!looks_like_one(b"....ftypisom"));
        assert!(!looks_like_one(b""));
    }
}
