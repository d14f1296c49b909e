//! Disks of a test's own, which may be full.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::servers::missing;

/// Whether this runs among mounts of its own, which go away with it however it ends. In the run that was asked for:
/// starts test `name` there, waits for it, and gives `false`.
pub fn among_own_mounts(name: &str) -> bool {
    const INSIDE: &str = "GARIM_TEST_OWN_MOUNTS";
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let unshare = || {
        let mut command = Command::new("unshare");
        let is_root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
        command.args(if is_root { &["--mount"][..] } else { &["--mount", "--map-root-user"] });
        command
    };
    if !unshare().arg("true").status().is_ok_and(|status| status.success()) {
        missing("this machine makes no mount namespaces");
        return false;
    }
    let exe = std::env::current_exe().unwrap();
    let mut inner = unshare();
    inner.arg(exe).args(["--exact", name, "--nocapture"]).env(INSIDE, "1");
    let ran = inner.stderr(Stdio::inherit()).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    // A name that is none is a success of no test.
    let passed = ran.status.success() && said.contains(" 1 passed;");
    assert!(passed, "{name} failed among mounts of its own: {said}");
    false
}

/// Mounts a disk of this size at `folder`, or changes how it is mounted.
pub fn mount(options: &str, folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", options, "none"]).arg(folder);
    assert!(mount.status().unwrap().success(), "mount -o {options}");
}

/// Bytes that no disk stores in less room.
pub fn noise(length: usize) -> Vec<u8> {
    (0..length as u64).map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}
