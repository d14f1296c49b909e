//! Commands and data of the publisher (RTMP 7.2), read into what there is to do.

use crate::amf::{self, Value};
use crate::{Error, Limits, Metadata, PublishType};

/// What a publisher commands. Has no `Debug`: it may hold a stream key.
pub(crate) enum Command {
    /// `connect`, with the `app` and `tcUrl` of its object, empty without one.
    Connect { app: String, tc_url: String },
    /// `createStream`.
    CreateStream,
    /// `FCPublish`, which announces a `publish`.
    FcPublish,
    /// `publish`, of a name, which may be empty.
    Publish { name: String, publish_type: PublishType },
    /// One of the commands that end a stream.
    Unpublish,
    /// It wants to play.
    Play,
    /// One that is answered with nothing: `releaseStream`, `_checkbw`.
    Acknowledge,
    /// An answer or a message, which nobody waits for.
    Ignore,
    /// Another one.
    Unknown,
}

/// A command, and the number that its answer has to have.
pub(crate) fn read(payload: &[u8], limits: &Limits) -> Result<(Command, f64), Error> {
    let values = amf::read_all(payload, limits)?;
    let Some(name) = values.first().and_then(Value::text) else {
        return Err(Error::Malformed("a command without a name"));
    };
    let transaction = values.get(1).and_then(Value::number).unwrap_or_default();
    let command = match name {
        "connect" => {
            let property = |name| values.get(2).and_then(|object| object.get(name));
            let text = |name| property(name).and_then(Value::text).unwrap_or_default().to_owned();
            Command::Connect { app: text("app"), tc_url: text("tcUrl") }
        }
        "createStream" => Command::CreateStream,
        "FCPublish" => Command::FcPublish,
        "publish" => {
            let text = |index| values.get(index).and_then(Value::text);
            let publish_type = match text(4) {
                Some("record") => PublishType::Record,
                Some("append") => PublishType::Append,
                _ => PublishType::Live,
            };
            Command::Publish { name: text(3).unwrap_or_default().to_owned(), publish_type }
        }
        "FCUnpublish" | "deleteStream" | "closeStream" => Command::Unpublish,
        "play" | "play2" | "getStreamLength" | "FCSubscribe" => Command::Play,
        "releaseStream" | "_checkbw" => Command::Acknowledge,
        "_result" | "_error" | "onStatus" => Command::Ignore,
        _ => Command::Unknown,
    };
    Ok((command, transaction))
}

/// `onMetaData`, as encoders send it (in `@setDataFrame`) and as files hold it. `None` is any other data, and such that
/// cannot be read: nothing depends on it.
pub(crate) fn metadata(payload: &[u8], limits: &Limits) -> Option<Metadata> {
    let values = amf::read_all(payload, limits).ok()?;
    let mut values = values.into_iter().skip_while(|value| value.text() == Some("@setDataFrame"));
    if values.next()?.text() != Some("onMetaData") {
        return None;
    }
    let object = values.next()?;
    let number = |name| object.get(name).and_then(Value::number);
    Some(Metadata {
        width: number("width"),
        height: number("height"),
        frame_rate: number("framerate"),
        encoder: object.get("encoder").and_then(Value::text).map(str::to_owned),
    })
}
