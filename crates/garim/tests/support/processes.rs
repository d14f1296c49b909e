//! Workers that tests kill, and the children that they start.

use std::fs::{File, read_dir, read_to_string};
use std::process::{Child, Stdio};

use super::server::signal;
use super::{GARIM, Scratch};

/// A running `garim worker` beside the server of the same folder; killed when dropped.
pub struct Worker<'a> {
    s: &'a Scratch,
    child: Child,
    log: String,
}

impl<'a> Worker<'a> {
    /// With the settings and the data of the server that was started in the folder. `name` is for its log.
    pub fn start(s: &'a Scratch, name: &str) -> Self {
        let log = format!("{name}.log");
        let file = File::options().create(true).append(true).open(s.path(&log)).unwrap();
        let args = "worker --config garim.toml --data data --slots 1";
        let mut command = s.command(GARIM, args);
        command.env_remove("GARIM_CONFIG").env_remove("GARIM_DATABASE_URL");
        let child = command.stdout(Stdio::null()).stderr(file).spawn().unwrap();
        Self { s, child, log }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, name: &str) {
        signal(self.id(), name);
    }

    /// Whether `name`, as a job says who does it, is this worker.
    pub fn is(&self, name: &str) -> bool {
        name.ends_with(&format!("-{}/0", self.id()))
    }

    /// Waits for the end; gives the exit code, or none after a signal.
    pub fn end(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Worker<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}:\n{}", self.log, String::from_utf8_lossy(&self.s.read(&self.log)));
        }
    }
}

/// The processes that `process` started and that are alive.
pub fn children(process: u32) -> Vec<u32> {
    let entries = read_dir("/proc").unwrap();
    let ids = entries.filter_map(|e| e.unwrap().file_name().to_string_lossy().parse().ok());
    ids.filter(|id| alive(*id).is_some_and(|parent| parent == process)).collect()
}

/// Whether `process` runs. One that ended and that nobody has asked for how does not.
pub fn runs(process: u32) -> bool {
    alive(process).is_some()
}

/// The parent of a process that runs: fields 3 and 4 of /proc/PID/stat (proc(5)), behind a name in brackets that may
/// hold anything.
fn alive(process: u32) -> Option<u32> {
    let stat = read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    (!["Z", "X"].contains(&state)).then_some(parent)
}
