//! How much one key, one address and one request may ask for.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::header::CONTENT_LENGTH;
use axum::middleware::Next;
use axum::response::Response;
use domain::KeyId;
use futures_util::StreamExt;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, NotUntil, Quota, RateLimiter};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::problem::{Code, Problem};
use crate::config;

type Instant = <DefaultClock as Clock>::Instant;

/// Counts of what is asked for. In this process only: two servers give a key twice as much.
pub struct Limits {
    keys: DefaultKeyedRateLimiter<KeyId>,
    strangers: DefaultKeyedRateLimiter<IpAddr>,
    concurrent: u32,
    answering: Arc<Mutex<HashMap<KeyId, u32>>>,
}

impl Limits {
    pub fn new(config: &config::Limits) -> Self {
        let some = |count: u32| NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
        let keys = Quota::per_second(some(config.requests_per_second));
        let strangers = Quota::per_minute(some(config.strangers_per_minute));
        Self {
            keys: RateLimiter::keyed(keys.allow_burst(some(config.burst))),
            strangers: RateLimiter::keyed(strangers),
            concurrent: config.concurrent,
            answering: Arc::default(),
        }
    }

    /// Counts an attempt without a valid key.
    pub fn stranger(&self, address: IpAddr) -> Result<(), Problem> {
        self.strangers.check_key(&network(address)).map_err(|until| too_many(&until))
    }

    /// Counts a request of a key.
    pub fn admit(&self, key: KeyId) -> Result<Permit, Problem> {
        self.keys.check_key(&key).map_err(|until| too_many(&until))?;
        let mut answering = self.answering.lock().unwrap_or_else(PoisonError::into_inner);
        let count = answering.entry(key).or_default();
        if *count >= self.concurrent {
            let detail = format!("{} requests of this key are being answered", self.concurrent);
            return Err(Problem::new(Code::TooManyAtOnce, detail).retry_after(1));
        }
        *count += 1;
        Ok(Permit { key, answering: Arc::clone(&self.answering) })
    }

    /// Forgets who has not asked for long enough to have everything again.
    pub fn sweep(&self) {
        self.keys.retain_recent();
        self.strangers.retain_recent();
    }
}

/// One host's addresses: an IPv6 subscriber has 2^64 of them.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

fn too_many(until: &NotUntil<Instant>) -> Problem {
    let wait = until.wait_time_from(DefaultClock::default().now());
    let seconds = wait.as_millis().div_ceil(1000).max(1) as u64;
    Problem::new(Code::TooManyRequests, format!("try again in {seconds} s")).retry_after(seconds)
}

/// Room for one request.
pub struct Permit {
    key: KeyId,
    answering: Arc<Mutex<HashMap<KeyId, u32>>>,
}

impl Permit {
    /// Keeps the room until a streamed body was sent.
    pub fn until_sent(self, response: Response) -> Response {
        if response.body().size_hint().exact().is_some() {
            return response;
        }
        response.map(|body| {
            Body::from_stream(body.into_data_stream().inspect(move |_| {
                let _held = &self;
            }))
        })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut answering = self.answering.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = answering.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                answering.remove(&self.key);
            }
        }
    }
}

/// What a group of routes may take.
#[derive(Clone, Copy)]
pub struct Bounds {
    /// Bytes of a body.
    pub body: usize,
    /// For a body to arrive, and again for the answer.
    pub time: Duration,
    /// Requests at once, of everybody: each may hold a whole body in memory.
    pub at_once: usize,
}

/// Lets so many requests in at once.
pub async fn a_few(
    State(room): State<Arc<Semaphore>>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let _held = room.try_acquire().map_err(|_| {
        let detail = "others are being answered that are as large";
        Problem::new(Code::TooManyAtOnce, detail).retry_after(2)
    })?;
    Ok(next.run(request).await)
}

/// Reads the whole body before the handler is called, if it is not too large and not too slow.
pub async fn whole_body(
    State(bounds): State<Bounds>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let announced = parts.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if announced.and_then(|n| n.parse().ok()).is_some_and(|n: u64| n > bounds.body as u64) {
        return Err(too_large(bounds.body));
    }
    let bytes = timeout(bounds.time, read(body, bounds.body)).await.map_err(|_| {
        let seconds = bounds.time.as_secs();
        Problem::new(Code::SlowBody, format!("it was not whole after {seconds} s"))
    })??;
    Ok(next.run(Request::from_parts(parts, Body::from(bytes))).await)
}

async fn read(body: Body, limit: usize) -> Result<Vec<u8>, Problem> {
    let (mut bytes, mut stream) = (Vec::new(), body.into_data_stream());
    while let Some(part) = stream.next().await {
        let part = part.map_err(|_| Problem::new(Code::InvalidJson, "the body broke off"))?;
        if bytes.len() + part.len() > limit {
            return Err(too_large(limit));
        }
        bytes.extend_from_slice(&part);
    }
    Ok(bytes)
}

fn too_large(limit: usize) -> Problem {
    Problem::new(Code::TooLarge, format!("at most {limit} bytes are taken here"))
}

/// Bounds the time that a handler takes.
pub async fn in_time(
    State(bounds): State<Bounds>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let limit = bounds.time;
    timeout(limit, next.run(request)).await.map_err(|_| {
        let detail = format!("it was not answered after {} s", limit.as_secs());
        Problem::new(Code::Timeout, detail).retry_after(5)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(requests: u32, concurrent: u32) -> Limits {
        Limits::new(&config::Limits {
            requests_per_second: 1,
            burst: requests,
            concurrent,
            strangers_per_minute: 2,
            body_bytes: 1024,
            timeout: std::time::Duration::from_secs(1),
            shutdown: std::time::Duration::ZERO,
        })
    }

    #[test]
    fn a_key_has_room_again_when_its_requests_were_answered() {
        let limits = limits(100, 2);
        let (key, other) = (KeyId::new(0), KeyId::new(0));
        let permits = [limits.admit(key).ok().unwrap(), limits.admit(key).ok().unwrap()];
        assert!(limits.admit(key).is_err());
        assert!(limits.admit(other).is_ok());
        drop(permits);
        assert!(limits.answering.lock().unwrap().is_empty());
        assert!(limits.admit(key).is_ok());
    }

    #[test]
    fn a_streamed_answer_keeps_its_room_until_it_was_sent() {
        let limits = limits(100, 1);
        let key = KeyId::new(0);
        let stream = futures_util::stream::iter([Ok::<_, std::io::Error>(bytes::Bytes::new())]);
        let answer = Response::new(Body::from_stream(stream));
        let answer = limits.admit(key).ok().unwrap().until_sent(answer);
        assert!(limits.admit(key).is_err());
        drop(answer);
        let answer = limits.admit(key).ok().unwrap().until_sent(Response::new(Body::from("x")));
        assert!(limits.admit(key).is_ok());
        drop(answer);
    }

    #[test]
    fn addresses_of_one_host_count_together() {
        let limits = limits(1, 1);
        let from = |text: &str| limits.stranger(text.parse().unwrap()).is_ok();
        assert!(from("2001:db8::1") && from("2001:db8::2") && !from("2001:db8::3"));
        assert!(from("2001:db8:0:1::1") && from("192.0.2.1") && from("::ffff:192.0.2.1"));
        assert!(!from("192.0.2.1") && from("192.0.2.2"));
    }
}
