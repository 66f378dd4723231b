//! Child processes that end with this process, also when this process is killed.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
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
/// # Errors
/// When there is none.
pub fn free_port() -> Result<u16, Error> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    Ok(listener.map_err(|error| Error::new(error.to_string()))?.port())
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
            let _ = pipe.write_all(b"end\n");
        }
        let _ = self.0.wait();
    }
}

/// A command in the background, stopped when this value is dropped or this process ends.
pub struct Background {
    process: Child,
    /// Kills what the command has started.
    leash: Option<Leash>,
    output: Option<JoinHandle<()>>,
}

impl Background {
    /// Starts a command in the root of the workspace, without input and output.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(mut command: Command) -> Result<Self, Error> {
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Self::spawn(command)
    }

    /// Starts a command in the root of the workspace, without input. Its output is shown for as long as that works: the command does not notice
    /// when a terminal is closed.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_shown(mut command: Command) -> Result<Self, Error> {
        command.stdout(Stdio::piped());
        let mut background = Self::spawn(command)?;
        background.output = background.process.stdout.take().map(|pipe| std::thread::spawn(move || show(pipe)));
        Ok(background)
    }

    fn spawn(mut command: Command) -> Result<Self, Error> {
        let leash = Leash::new(GRACE)?;
        command.stdin(Stdio::null()).current_dir(root()).process_group(leash.group()?);
        let process = command.spawn();
        let name = command.get_program().to_string_lossy();
        let process = process.map_err(|error| Error::new(format!("{name}: {error}")))?;
        Ok(Self { process, leash: Some(leash), output: None })
    }

    /// The status of the command, if it has ended.
    pub fn status(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().ok().flatten()
    }
}

/// Copies the output of a command to that of this process.
fn show(mut pipe: impl Read) {
    let mut buffer = [0; 8192];
    while let Ok(length @ 1..) = pipe.read(&mut buffer) {
        // It fails when the terminal is closed.
        let mut stdout = std::io::stdout();
        let _ = stdout.write_all(buffer.get(..length).unwrap_or_default()).and_then(|()| stdout.flush());
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
        drop(self.leash.take());
        if let Some(output) = self.output.take() {
            // It fails when the thread has panicked; then there is nothing to show.
            let _ = output.join();
        }
    }
}
