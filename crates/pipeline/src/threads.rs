//! Threads with names.

use std::thread;

use crate::JobError;

/// Starts a thread that ends with `scope`.
pub(crate) fn spawn<'scope, T: Send + 'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    name: &str,
    run: impl FnOnce() -> T + Send + 'scope,
) -> Result<thread::ScopedJoinHandle<'scope, T>, JobError> {
    let thread = thread::Builder::new().name(name.to_owned());
    thread.spawn_scoped(scope, run).map_err(|_| JobError::Panicked("new"))
}
