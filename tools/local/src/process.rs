//! Child processes that end with this process, also when this process is killed.

use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::Error;

/// How long a command has to end after SIGTERM, before it is killed.
const GRACE: Duration = Duration::from_secs(10);

/// The root of the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A TCP port on which nothing listens.
///
/// It is below 32,768, where the ports begin that Linux gives to connections and to servers without a port of their own, so that none
/// of them takes it before the caller listens on it. No two calls of a process return the same port.
///
/// # Errors
/// When there is none.
pub fn free_port() -> Result<u16, Error> {
    const FIRST: u32 = 10_000;
    const COUNT: u32 = 22_000;
    static CALLS: AtomicU32 = AtomicU32::new(0);
    // Processes begin at different ports.
    let start = std::process::id().wrapping_mul(101);
    for _ in 0..COUNT {
        let offset = start.wrapping_add(CALLS.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let port = u16::try_from(FIRST + offset).map_err(|error| Error::new(error.to_string()))?;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    Err(Error::new("no port is free".to_owned()))
}

/// A process group that does not outlive this process.
///
/// A small shell leads the group and reads from a pipe that only this process holds open. When the pipe is closed, by a drop or by the end
/// of this process, the shell ends the group.
pub struct Leash(Child);

impl Leash {
    /// A new group. When this process ends, the group gets SIGTERM, and SIGKILL after the grace period.
    ///
    /// # Errors
    /// When the shell cannot be started.
    pub fn new(grace: Duration) -> Result<Self, Error> {
        // A line on the pipe means that the owner has waited for its processes already.
        const SCRIPT: &str = r#"trap "" HUP INT TERM; if ! read -r _; then kill -TERM 0; sleep "$1"; fi; kill -KILL 0"#;
        let mut shell = Command::new("sh");
        shell.args(["-c", SCRIPT, "leash", &grace.as_secs().to_string()]).process_group(0);
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self(shell.spawn().map_err(|error| Error::new(format!("sh: {error}")))?))
    }

    /// The id of the group, for `process_group` of a command.
    ///
    /// # Errors
    /// When the id is none of a group, which no system gives.
    pub fn group(&self) -> Result<i32, Error> {
        i32::try_from(self.0.id()).map_err(|error| Error::new(error.to_string()))
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        if let Some(mut pipe) = self.0.stdin.take() {
            // It fails when the shell is gone, and then so is the group.
            let _ = std::io::Write::write_all(&mut pipe, b"end\n");
        }
        let _ = self.0.wait();
    }
}

/// A command in the background, stopped when this value is dropped or this process ends.
pub struct Background {
    process: Child,
    // Dropped after the process has ended: kills what the command has started.
    _leash: Leash,
}

impl Background {
    /// Starts a command in the root of the workspace, without input and output.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(mut command: Command) -> Result<Self, Error> {
        let leash = Leash::new(GRACE)?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.current_dir(root()).process_group(leash.group()?);
        let process = command.spawn();
        let name = command.get_program().to_string_lossy();
        Ok(Self { process: process.map_err(|error| Error::new(format!("{name}: {error}")))?, _leash: leash })
    }

    fn status(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().ok().flatten()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let process = self.process.id().to_string();
        // SIGTERM, which the standard library cannot send.
        if self.status().is_none() && Command::new("kill").args(["-TERM", &process]).status().is_ok() {
            let deadline = Instant::now() + GRACE;
            while self.status().is_none() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        // Both fail only when it has ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
