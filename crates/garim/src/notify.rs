//! Telling webhooks what happened: signed messages, tried again for about a day.

use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use domain::{EventId, VideoId};
use hmac::{Hmac, KeyInit, Mac};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::Sha256;
use store::{Answer, Delivery, Event, Format, Store, Topic, WebhookSecret};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

/// Messages on their way at once. Each webhook has few of them ([`Store::claim_delivery`]).
const AT_ONCE: usize = 16;
/// A target has this long to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// A message belongs to this process for longer than its target may take.
const LEASE: SignedDuration = SignedDuration::from_secs(60);
/// Looks for messages that are due again at least this often.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Longest part of an answer or error that is kept, in bytes.
const MAX_ERROR: usize = 300;

/// Sends messages until `stopping`.
pub async fn run(store: Store, bucket: String, stopping: CancellationToken) -> anyhow::Result<()> {
    let client = reqwest::Client::builder()
        .timeout(PATIENCE)
        // A signed message goes where its owner said, nowhere else.
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("Garim/", env!("CARGO_PKG_VERSION")))
        .build()?;
    let mut events = store.changes(Topic::Events);
    let mut sending = JoinSet::new();
    loop {
        events.mark_unchanged();
        while sending.len() < AT_ONCE {
            match store.claim_delivery(LEASE, Timestamp::now()).await {
                Ok(Some(delivery)) => {
                    let (store, client, bucket) = (store.clone(), client.clone(), bucket.clone());
                    sending.spawn(async move { deliver(&store, &client, &bucket, delivery).await });
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(%error, "messages to webhooks cannot be read");
                    break;
                }
            }
        }
        tokio::select! {
            _ = tokio::time::sleep(LOOK_EVERY) => {}
            _ = events.changed() => {}
            Some(_) = sending.join_next() => {}
            // What is on its way is tried again by the next server: targets know messages by their id.
            _ = stopping.cancelled() => return Ok(()),
        }
    }
}

async fn deliver(store: &Store, client: &reqwest::Client, bucket: &str, delivery: Delivery) {
    let answer = send(store, client, bucket, &delivery).await;
    if let Answer::Refused(status, why) = &answer {
        let (webhook, attempt) = (delivery.webhook.id, delivery.attempt);
        tracing::warn!(%webhook, attempt, ?status, why, "a webhook did not take a message");
    }
    let now = Timestamp::now();
    if let Err(error) = store.delivered(delivery.id, delivery.attempt, &answer, now).await {
        tracing::warn!(%error, "how a message went cannot be written down: it is sent again");
    }
}

async fn send(
    store: &Store,
    client: &reqwest::Client,
    bucket: &str,
    delivery: &Delivery,
) -> Answer {
    let refused = |why: String| Answer::Refused(None, why.chars().take(MAX_ERROR).collect());
    let event = &delivery.event;
    let (body, kind) = match delivery.webhook.format {
        Format::Cloudevents => {
            let body = serde_json::to_string(&CloudEvent::from(event));
            (body, "application/cloudevents+json; charset=utf-8")
        }
        Format::Sns => (Ok(sns(store, bucket, event).await.to_string()), "application/json"),
    };
    let body = match body {
        Ok(body) => body,
        Err(error) => return refused(error.to_string()),
    };
    let id = event.id.to_string();
    let at = Timestamp::now().as_second().to_string();
    let signature = match sign(&delivery.secret, &id, &at, &body) {
        Ok(signature) => signature,
        Err(error) => return refused(error.to_string()),
    };
    let request = client
        .post(&delivery.webhook.url)
        .header("content-type", kind)
        .header("webhook-id", id)
        .header("webhook-timestamp", at)
        .header("webhook-signature", signature)
        .body(body);
    match request.send().await {
        Ok(answer) if answer.status().is_success() => Answer::Taken(answer.status().as_u16()),
        Ok(answer) => {
            let status = answer.status();
            Answer::Refused(Some(status.as_u16()), format!("answered {status}"))
        }
        // The address may hold a secret of its owner's: it is not repeated.
        Err(error) => refused(chain(&error.without_url())),
    }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Standard Webhooks 1.0, "Signature scheme": HMAC-SHA256 over id, time and body.
fn sign(secret: &WebhookSecret, id: &str, at: &str, body: &str) -> Result<String, store::Error> {
    let mut mac = Hmac::<Sha256>::new_from_slice(&secret.key()?)
        .map_err(|_| store::Error::Damaged("secret"))?;
    mac.update(format!("{id}.{at}.{body}").as_bytes());
    Ok(format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes())))
}

/// Something that happened, as CloudEvents 1.0 says it in JSON (structured mode).
#[derive(Serialize, ToSchema)]
pub struct CloudEvent {
    /// `1.0`.
    specversion: &'static str,
    #[schema(value_type = String, format = Uuid)]
    id: EventId,
    /// `/users/` and the user's name.
    source: String,
    /// `garim.` and what kind of thing: `garim.job.done`, `garim.video.unpublished` ...
    #[serde(rename = "type")]
    kind: String,
    /// What it happened to: the id of a video, job or person.
    subject: String,
    #[schema(value_type = String, format = DateTime)]
    time: Timestamp,
    /// `application/json`.
    datacontenttype: &'static str,
    /// What else there is to know.
    #[schema(value_type = Object)]
    data: Value,
    /// Extension: the number of the event. Later events of one server have greater ones.
    sequence: String,
}

impl From<&Event> for CloudEvent {
    fn from(event: &Event) -> Self {
        Self {
            specversion: "1.0",
            id: event.id,
            source: format!("/users/{}", event.owner),
            kind: format!("garim.{}", event.kind),
            subject: event.subject.clone(),
            time: event.at,
            datacontenttype: "application/json",
            data: event.data.clone(),
            sequence: event.seq.to_string(),
        }
    }
}

/// What a cloud's face search sends when it is over.
async fn sns(store: &Store, bucket: &str, event: &Event) -> Value {
    let video = event.data["video"].as_str().and_then(|id| id.parse::<VideoId>().ok());
    let object = match video {
        Some(id) => match store.video(&event.owner, id).await {
            Ok(video) => video.object.unwrap_or(video.name),
            Err(_) => id.to_string(),
        },
        None => String::new(),
    };
    json!({
        "JobId": event.data["job"],
        "Status": if event.kind == "job.done" { "SUCCEEDED" } else { "FAILED" },
        "API": "StartFaceSearch",
        "JobTag": event.data["tag"],
        "Timestamp": event.at.as_millisecond(),
        "Video": {"S3ObjectName": object, "S3Bucket": bucket},
    })
}
