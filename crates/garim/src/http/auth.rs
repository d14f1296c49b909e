//! Who calls: `Authorization: Bearer garim_...`.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;
use jiff::Timestamp;
use store::{ApiKey, KeyScope};
use tracing::Span;

use super::App;
use super::problem::{Code, Problem};

/// Who sent the request, by a key that was checked.
#[derive(Clone, Debug)]
pub struct Caller(Arc<ApiKey>);

impl Caller {
    /// The key.
    pub fn key(&self) -> &ApiKey {
        &self.0
    }

    /// Who it is in the audit log.
    pub fn actor(&self) -> String {
        format!("key {}", self.0.id)
    }

    /// Whether the key has this scope.
    pub fn may(&self, scope: KeyScope) -> bool {
        self.0.scopes.contains(&scope)
    }

    /// Whether this caller may know of things of `owner`. If not, answer as if there were none: 404.
    pub fn acts_for(&self, owner: &str) -> bool {
        self.0.owner == owner || self.may(KeyScope::Admin)
    }
}

/// Lets only requests with a valid key through, as many as the key may send.
pub async fn authenticate(
    State(app): State<Arc<App>>,
    ConnectInfo(address): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let key = match bearer(request.headers()) {
        Some(secret) => app.store.key_by_secret(secret, Timestamp::now()).await?,
        None => None,
    };
    let Some(key) = key else {
        app.limits.stranger(address.ip())?;
        return Err(Problem::new(
            Code::Unauthenticated,
            "send Authorization: Bearer and a key that exists, has not ended and was not revoked",
        ));
    };
    Span::current().record("key", tracing::field::display(key.id));
    let permit = app.limits.admit(key.id)?;
    // Nothing behind this needs the secret.
    request.headers_mut().remove(AUTHORIZATION);
    request.extensions_mut().insert(Caller(Arc::new(key)));
    Ok(permit.until_sent(next.run(request).await))
}

/// The secret of RFC 6750, section 2.1.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, secret) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(secret.trim())
}

/// An argument of handlers for each scope: the caller, whose key has it.
macro_rules! scoped {
    ($($name:ident)*) => {$(
        #[doc = concat!("The caller, whose key has the scope `", stringify!($name), "`.")]
        #[allow(dead_code, reason = "not every scope has a route yet")]
        pub struct $name(pub Caller);

        impl<S: Sync> FromRequestParts<S> for $name {
            type Rejection = Problem;

            async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
                with_scope(parts, KeyScope::$name).map(Self)
            }
        }
    )*};
}

scoped! { Read Operate People Originals Admin }

fn with_scope(parts: &Parts, scope: KeyScope) -> Result<Caller, Problem> {
    let caller = parts.extensions.get::<Caller>();
    // A route that takes a caller but is not behind `authenticate` is a mistake of ours.
    let caller = caller.ok_or_else(|| Problem::internal("a route is not authenticated"))?;
    if caller.may(scope) {
        return Ok(caller.clone());
    }
    Err(Problem::new(Code::MissingScope, format!("the key needs the scope {scope}")))
}
