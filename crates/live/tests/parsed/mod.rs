//! Reads playlists as strictly as it can: every line must be known and in its place.

/// A media playlist. Durations are millionths of a second.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    pub target: u64,
    pub part_target: u64,
    pub part_hold_back: u64,
    pub hold_back: u64,
    pub skip_until: u64,
    pub media_sequence: u64,
    pub discontinuity_sequence: u64,
    pub skipped: u64,
    /// Those that are written, without the skipped.
    pub segments: Vec<Segment>,
    pub hint: Option<String>,
    pub ended: bool,
}

/// A segment; the last may have parts only.
#[derive(Debug, Clone, PartialEq)]
pub struct Segment {
    pub discontinuity: bool,
    /// `None` at the beginning of a delta.
    pub map: Option<String>,
    pub time: String,
    pub parts: Vec<Part>,
    pub whole: Option<(u64, String)>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    pub duration: u64,
    pub uri: String,
    pub independent: bool,
}

pub fn parse(text: &str) -> Parsed {
    let mut lines = text.strip_suffix('\n').unwrap().split('\n').peekable();
    assert_eq!(lines.next(), Some("#EXTM3U"));
    assert_eq!(lines.next(), Some("#EXT-X-VERSION:9"));
    let mut value = |tag: &str| {
        let line = lines.next().unwrap();
        line.strip_prefix(tag).unwrap_or_else(|| panic!("{line} instead of {tag}")).to_owned()
    };
    let target = value("#EXT-X-TARGETDURATION:").parse().unwrap();
    let control = value("#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=");
    let (part_hold_back, control) = control.split_once(",HOLD-BACK=").unwrap();
    let (hold_back, skip_until) = control.split_once(",CAN-SKIP-UNTIL=").unwrap();
    let part_target = micros(&value("#EXT-X-PART-INF:PART-TARGET="));
    assert_eq!(value("#EXT-X-INDEPENDENT-SEGMENTS"), "");
    let media_sequence = value("#EXT-X-MEDIA-SEQUENCE:").parse().unwrap();
    let mut optional = |tag: &str| {
        let line = lines.next_if(|line| line.starts_with(tag))?;
        Some(line[tag.len()..].parse().unwrap())
    };
    let discontinuity_sequence = optional("#EXT-X-DISCONTINUITY-SEQUENCE:");
    let skipped = optional("#EXT-X-SKIP:SKIPPED-SEGMENTS=");
    assert!(discontinuity_sequence != Some(0) && skipped != Some(0));
    let mut parsed = Parsed {
        target,
        part_target,
        part_hold_back: micros(part_hold_back),
        hold_back: micros(hold_back),
        skip_until: micros(skip_until),
        media_sequence,
        discontinuity_sequence: discontinuity_sequence.unwrap_or(0),
        skipped: skipped.unwrap_or(0),
        segments: Vec::new(),
        hint: None,
        ended: false,
    };
    let mut map = None;
    while let Some(line) = lines.peek() {
        if *line == "#EXT-X-ENDLIST" {
            parsed.ended = true;
            lines.next();
            break;
        }
        if let Some(hint) = line.strip_prefix("#EXT-X-PRELOAD-HINT:TYPE=PART,URI=") {
            parsed.hint = Some(quoted(hint));
            lines.next();
            break;
        }
        let complete = parsed.segments.last().is_none_or(|last: &Segment| last.whole.is_some());
        assert!(complete, "{line} after the open segment");
        parsed.segments.push(segment(&mut lines, &mut map));
    }
    assert_eq!(lines.next(), None, "after the end");
    parsed
}

fn segment<'a>(
    lines: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>,
    map: &mut Option<String>,
) -> Segment {
    let discontinuity = lines.next_if_eq(&"#EXT-X-DISCONTINUITY").is_some();
    if let Some(line) = lines.next_if(|line| line.starts_with("#EXT-X-MAP:URI=")) {
        *map = Some(quoted(&line["#EXT-X-MAP:URI=".len()..]));
    }
    let time = lines.next().unwrap().strip_prefix("#EXT-X-PROGRAM-DATE-TIME:").unwrap().to_owned();
    let mut parts = Vec::new();
    while let Some(line) = lines.next_if(|line| line.starts_with("#EXT-X-PART:")) {
        let line = line.strip_prefix("#EXT-X-PART:DURATION=").unwrap();
        let (duration, uri) = line.split_once(",URI=").unwrap();
        let alone = uri.strip_suffix(",INDEPENDENT=YES");
        parts.push(Part {
            duration: micros(duration),
            uri: quoted(alone.unwrap_or(uri)),
            independent: alone.is_some(),
        });
    }
    let whole = lines.next_if(|line| line.starts_with("#EXTINF:")).map(|line| {
        let duration = line["#EXTINF:".len()..].strip_suffix(',').unwrap();
        (micros(duration), lines.next().unwrap().to_owned())
    });
    Segment { discontinuity, map: map.clone(), time, parts, whole }
}

fn quoted(text: &str) -> String {
    text.strip_prefix('"').unwrap().strip_suffix('"').unwrap().to_owned()
}

/// Seconds with up to six decimals.
fn micros(seconds: &str) -> u64 {
    let (whole, decimals) = seconds.split_once('.').unwrap();
    let decimals: u64 = format!("{decimals:0<6}").parse().unwrap();
    assert!(decimals < 1_000_000, "{seconds}");
    whole.parse::<u64>().unwrap() * 1_000_000 + decimals
}
