use std::fmt;

/// A stream key. Whoever has it can publish, so that it is shown nowhere.
///
/// It cannot be compared here on purpose: compare [`reveal`](Self::reveal) in constant time, or a hash of it.
pub struct StreamKey(String);

impl StreamKey {
    /// The key itself, as the publisher sent it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StreamKey(..)")
    }
}

/// App and key of what a publisher sent: `app` and `tcUrl` of its `connect`, and the name in its `publish`.
///
/// Most send `live` and `KEY`. Where the key was typed into the field of the address, the name is empty, and `app` is
/// `live/KEY`, or only `tcUrl` has it. `None` if there is none.
pub(crate) fn split(app: &str, tc_url: &str, name: &str) -> Option<(String, StreamKey)> {
    let (app, name) = (path(app), path(name));
    let (app, key) = if !name.is_empty() {
        match name.rsplit_once('/') {
            Some((more, key)) if app.is_empty() => (more.to_owned(), key),
            Some((more, key)) => (format!("{app}/{more}"), key),
            None => (app.to_owned(), name),
        }
    } else {
        let (_, after_scheme) = tc_url.split_once("://").unwrap_or_default();
        let (_, url_path) = after_scheme.split_once('/').unwrap_or_default();
        let (app, key) = app.rsplit_once('/').or_else(|| path(url_path).rsplit_once('/'))?;
        (app.to_owned(), key)
    };
    // Typed into both fields.
    let app = match app.strip_suffix(key).and_then(|rest| rest.strip_suffix('/')) {
        Some(rest) => rest.to_owned(),
        None => app,
    };
    Some((app, StreamKey(key.to_owned())))
}

/// Without the query, and without slashes around it.
fn path(address: &str) -> &str {
    let (path, _) = address.split_once('?').unwrap_or((address, ""));
    path.trim_matches('/')
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn the_key_is_found_wherever_publishers_put_it() {
        for (app, tc_url, name) in [
            ("live", "rtmp://host/live", "KEY"),
            ("live", "rtmp://host:1935/live/KEY", "KEY"),
            ("live/", "rtmp://host/live/", "KEY?token=1"),
            ("/live", "", "/KEY/"),
            ("live/KEY", "rtmp://host/live/KEY", ""),
            ("live/KEY?a=b/c", "rtmp://host/live/KEY?a=b/c", ""),
            ("live/KEY", "rtmp://host/live/KEY", "KEY"),
            ("live", "rtmp://host/live/KEY", ""),
            ("", "rtmp://host/live/KEY?a=b/c", ""),
            ("", "", "live/KEY"),
        ] {
            let (found, key) = split(app, tc_url, name).unwrap();
            assert_eq!((found.as_str(), key.reveal()), ("live", "KEY"), "{app} {tc_url} {name}");
        }
        let (app, key) = split("live", "", "studio/KEY").unwrap();
        assert_eq!((app.as_str(), key.reveal()), ("live/studio", "KEY"));
        let (app, key) = split("", "", "KEY").unwrap();
        assert_eq!((app.as_str(), key.reveal()), ("", "KEY"));
    }

    #[test]
    fn without_a_key_there_is_none() {
        for (app, tc_url, name) in [
            ("", "", ""),
            ("live", "rtmp://host/live", ""),
            ("live", "rtmp://host/live", "?a=b"),
            ("live/", "host/live/KEY", "/"),
            ("live", "rtmp://host", ""),
        ] {
            assert!(split(app, tc_url, name).is_none(), "{app} {tc_url} {name}");
        }
    }
}
