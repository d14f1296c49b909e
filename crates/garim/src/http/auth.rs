//! Who calls: `Authorization: Bearer garim_...`.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use axum::middleware::Next;
use axum::response::Response;
use jiff::Timestamp;
use store::{ApiKey, KeyScope};
use tracing::Span;

use super::App;
use super::problem::{Code, Problem};

/// Names the user that a request is about, where that is not the key's own.
pub const USER: HeaderName = HeaderName::from_static("garim-user");

/// Who sent the request, by a key that was checked.
#[derive(Clone, Debug)]
pub struct Caller {
    key: Arc<ApiKey>,
    /// Whose things the request is about.
    owner: Arc<str>,
}

impl Caller {
    /// Of a key, for the user that the request names: another than the key's own only with the scope admin.
    fn new(key: ApiKey, headers: &HeaderMap) -> Result<Self, Problem> {
        let admin = key.scopes.contains(&KeyScope::Admin);
        let owner: Arc<str> = match headers.get(USER).map(|name| name.to_str()) {
            None => key.owner.as_str().into(),
            Some(Ok(name)) if name == key.owner || admin => {
                store::check_user_name(name)?;
                name.into()
            }
            Some(_) => {
                let detail = "Garim-User names another user, which needs the scope admin";
                return Err(Problem::new(Code::MissingScope, detail));
            }
        };
        Ok(Self { key: Arc::new(key), owner })
    }

    /// The key.
    pub fn key(&self) -> &ApiKey {
        &self.key
    }

    /// The user whose things the request is about. What belongs to others does not exist for it.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// Who it is in the audit log.
    pub fn actor(&self) -> String {
        format!("key {}", self.key.id)
    }

    /// Whether the key has this scope.
    pub fn may(&self, scope: KeyScope) -> bool {
        self.key.scopes.contains(&scope)
    }

    /// Whether this caller may know of things of `owner`. If not, answer as if there were none: 404.
    pub fn acts_for(&self, owner: &str) -> bool {
        self.key.owner == owner || self.may(KeyScope::Admin)
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
    let caller = Caller::new(key, request.headers())?;
    request.extensions_mut().insert(caller);
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
